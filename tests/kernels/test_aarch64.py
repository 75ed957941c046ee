"""The library for 64-bit ARM: cross-built, and held to the same oracle under qemu."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.text import text
from tests.cross import EMULATOR, kernels_for_arm, run_program
from tests.kernels.byte_table_programs import table_node
from tests.kernels.compiled_loops import AARCH64, inner_loops, spent, spilling
from tests.kernels.host_nodes import COARSE
from tests.kernels.node_files import read_arrays
from tests.kernels.quantized_programs import EVERY_QUANTIZED, quantized_programs
from tests.kernels.region_nodes import RegionNode, region_node, write_node
from tests.kernels.region_programs import EVERY_INSTRUCTION, programs
from tests.kernels.roi_nodes import ROI_NODES, exact_roi_align, write_roi_node

pytestmark = pytest.mark.slow

LARGEST_LIBRARY = 2_000_000
"""Bytes that boards have to keep of it."""

# Rows of their own and pairs of rows; tiles, strides, runs and rows of features; w0 is the stem.
LAYERS = """\
lth_region 1
inputs 2
weight dense f32 16,3,7,7 at 2
weight bitmask f32 24,16,3,3 at 3,4
weight gaps8 f16 24,24,3,3 at 5,6
weight gaps8 f32 20,24,1,1 at 7,8
weight dense f32 20,16,1,1 at 9
weight dense f32 24 at 10
weight gaps6 f32 12,40 at 11,12
t0 = load 0 channels=3
t1 = conv t0 w0 - kernel=7,7 stride=2,2 pads=3,3,3,3 dilation=1,1 groups=1 act=relu
t2 = conv t1 w1 w5 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1 groups=1 act=leaky:0.1
t3 = conv t2 w2 w5 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t2 act=silu
t4 = conv t3 w3 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=hardswish
t5 = conv t1 w4 - kernel=1,1 stride=2,2 pads=0,0,0,0 dilation=1,1 groups=1 add=t4 act=none
t6 = loadrows 1 channels=40
t7 = conv t6 w6 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=relu
output t5
output t7 rows
"""


@pytest.fixture(scope="session")
def host() -> Path:
    return kernels_for_arm()


def test_the_library_is_small_enough_for_boards(host: Path) -> None:
    assert (host / "liblth_ops.so").stat().st_size < LARGEST_LIBRARY


def _hold(host: Path, node: RegionNode, folder: Path, isa: str, threads: int = 2) -> None:
    file = write_node(folder / "node", node)
    run_program([*EMULATOR, host / "lth_host", "run", file, folder / "out", threads], LTH_ISA=isa)
    exact = run_bounded(node.program, node.weights, node.inputs)
    for found, expected in zip(read_arrays(folder / "out"), exact, strict=True):
        assert found.shape == expected.value.shape
        assert (np.abs(found - expected.value) <= expected.bound + 1e-37).all()


@pytest.mark.parametrize("isa", ["neon", "portable"])
@pytest.mark.parametrize("size", [(96, 160), (37, 50), (9, 5)])
@pytest.mark.parametrize("paired", [False, True])
def test_layers_are_computed_within_the_error_bound(
    isa: str, size: tuple[int, int], paired: bool, host: Path, tmp_path: Path
) -> None:
    node = region_node(LAYERS, [(2, 3, *size), (41, 40)])
    if paired:  # rows 2 i and 2 i + 1 share their zeros
        for weight in node.weights:
            if weight.ndim > 1:
                weight[1::2] = np.where(weight[::2] != 0, 0.5, 0)
    _hold(host, node, tmp_path, isa)


@pytest.mark.parametrize("isa", ["neon", "portable"])
def test_every_instruction_is_computed(isa: str, host: Path, tmp_path: Path) -> None:
    _hold(host, region_node(EVERY_INSTRUCTION, [(2, 3, 21, 18), (5, 16)]), tmp_path, isa)


BYTE_SETS = ["neoni8mm", "neondot", "neon", "portable"]


@pytest.mark.parametrize("isa", BYTE_SETS)
@pytest.mark.parametrize("size", [(21, 18), (40, 64)])
def test_every_instruction_on_bytes_is_computed(isa: str, size: tuple[int, int], host: Path, tmp_path: Path) -> None:
    _hold(host, region_node(EVERY_QUANTIZED, [(2, 3, *size), (5, 16)]), tmp_path, isa)


@pytest.mark.parametrize("isa", BYTE_SETS)
@pytest.mark.parametrize("zeros", [0.5, 0.9])
def test_blocks_of_many_outputs_are_computed(isa: str, zeros: float, host: Path, tmp_path: Path) -> None:
    _hold(host, region_node(COARSE, [(1, 16, 21, 18)], zeros=zeros), tmp_path, isa)


@pytest.mark.parametrize("isa", ["neon", "portable"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_tables_give_the_bits_of_their_functions(kind: str, isa: str, host: Path, tmp_path: Path) -> None:
    file = write_node(tmp_path / "node", table_node(kind))
    run_program([*EMULATOR, host / "lth_host", "run", file, tmp_path / "out", 1], LTH_ISA=isa)
    found = read_arrays(tmp_path / "out")
    assert all(np.array_equal(*found[number : number + 2]) for number in range(0, len(found), 2))


@given(
    program=quantized_programs(), size=st.tuples(st.integers(1, 33), st.integers(1, 33)), isa=st.sampled_from(BYTE_SETS)
)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_drawn_programs_on_bytes_are_computed(
    program: object, size: tuple[int, int], isa: str, host: Path, tmp_path: Path
) -> None:
    channels = program.instructions[0].channels  # type: ignore[attr-defined]
    _hold(host, region_node(text(program), [(1, channels, *size)], zeros=0.5), tmp_path, isa)  # type: ignore[arg-type]


@given(program=programs(), height=st.integers(1, 33), width=st.integers(1, 33))
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_drawn_programs_are_computed(program: object, height: int, width: int, host: Path, tmp_path: Path) -> None:
    channels = program.instructions[0].channels  # type: ignore[attr-defined]
    node = region_node(text(program), [(1, channels, height, width)])  # type: ignore[arg-type]
    _hold(host, node, tmp_path, "neon")


@pytest.mark.parametrize("isa", ["neon", "portable"])
@pytest.mark.parametrize("name", ROI_NODES)
def test_roi_align_is_computed(name: str, isa: str, host: Path, tmp_path: Path) -> None:
    file = write_roi_node(tmp_path / "node", ROI_NODES[name])
    run_program([*EMULATOR, host / "lth_host", "run", file, tmp_path / "out", 2], LTH_ISA=isa)
    (found,), (exact, bound) = read_arrays(tmp_path / "out"), exact_roi_align(ROI_NODES[name])
    assert found.shape == exact.shape
    assert found.any()
    assert (np.abs(found - exact) <= bound).all()


def test_an_instruction_set_of_others_is_refused(host: Path, tmp_path: Path) -> None:
    file = write_node(tmp_path / "node", region_node(EVERY_INSTRUCTION, [(2, 3, 21, 18), (5, 16)]))
    said = run_program([*EMULATOR, host / "lth_host", "run", file, tmp_path / "out", 1], fails=True, LTH_ISA="avx2")
    assert "'avx2' is not available on this machine; use one of: " in said
    assert "neon, portable" in said


@pytest.mark.parametrize("pooled", [False, True])
def test_damaged_nodes_and_many_threads(pooled: bool, host: Path, tmp_path: Path) -> None:
    file = tmp_path / "node"
    if pooled:
        write_roi_node(file, ROI_NODES["adaptive, two bins"])
    else:
        write_node(file, region_node(EVERY_INSTRUCTION, [(2, 3, 21, 18), (5, 16)]))
    run_program([*EMULATOR, host / "lth_host", "threads", 8, file])
    tally = json.loads(run_program([*EMULATOR, host / "lth_host", "mutate", 300, 1, file]))
    assert sum(tally.values()) == 300
    assert min(tally["refused"], tally["compared"]) > 20


def test_inner_loops_keep_their_sums_in_registers(host: Path) -> None:
    """There is no ARM processor to measure on: the instructions of one nonzero are counted instead."""
    kernels = inner_loops(next(host.rglob("isa/neon.cpp.o")), AARCH64)
    assert len(kernels) > 60
    assert not spilling(kernels)
    assert spent(kernels, "single_rows<Float32, 4, 5, 7, 1>") <= 1.9
    assert spent(kernels, "single_rows<Float32, 4, 5, 15, 2>") <= 2.3
    assert spent(kernels, "single_rows<Float32, 1, 20, 0, 1>") <= 1.9
    assert spent(kernels, "pair_rows<Float32, 5, 7, 1>") <= 1.8
