"""What the inner loops spend, counted instead of timed, so that no other work disturbs it: instructions a product.

Valgrind counts what runs; it has no AVX-512, whose loops are read off the compiled code.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lth_deploy.kernels.program.text import parse
from tests.cross import run_program
from tests.kernels.compiled_loops import X86_64, inner_loops, spent, spilling
from tests.kernels.hosts import build_host
from tests.kernels.region_models import random_constants
from tests.kernels.region_nodes import RegionNode, write_node

LANES = {"portable": 4, "avx2": 8}
CHANNELS = 64
ZEROS = (0.7, 0.9)
SIDES = (16, 40)


@pytest.fixture(scope="module")
def host() -> Path:
    missing = [tool for tool in ("valgrind", "objdump", "cmake") if shutil.which(tool) is None]
    if missing:
        reason = f"no {', '.join(missing)} here: apt-get install valgrind binutils; pip install cmake"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return build_host("plain")


def instructions(host: Path, folder: Path, isa: str, node: RegionNode) -> int:
    """Instructions that the host runs to make the kernel and compute the node once."""
    file, out = write_node(folder / "node", node), folder / "out"
    log = folder / "log"
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]
    run_program([*command, host, "run", file, out, 1], LTH_ISA=isa, LTH_TUNING="fma=1")
    found = re.search(r"Collected : (\d+)", log.read_text())
    assert found, log.read_text()
    return int(found[1])


def layer(block: str, zeros: float, side: int) -> RegionNode:
    program = parse(
        "lth_region 1\ninputs 1\n"
        f"weight bitmask{block} f32 {CHANNELS},{CHANNELS},3,3 at 1,2\n"
        f"t0 = load 0 channels={CHANNELS}\n"
        "t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none\n"
        "output t1\n"
    )
    rng = np.random.default_rng(0)
    weights = random_constants(program, rng, zeros, bool(block))
    return RegionNode(program, weights, [rng.standard_normal((1, CHANNELS, side, side)).astype(np.float32)])


# Rows that share their zeros load a line once for two products, which takes an instruction but spares a read.
@pytest.mark.parametrize(
    ("isa", "block", "most"),
    [("avx2", "", 1.75), ("avx2", ":2x1", 2.4), ("portable", "", 3.9), ("portable", ":2x1", 4.8)],
)
def test_a_nonzero_of_a_whole_layer(host: Path, tmp_path: Path, isa: str, block: str, most: float) -> None:
    """What denser weights cost more on a large image than on a small one: reading and packing cancel out."""
    nodes = {(zeros, side): layer(block, zeros, side) for zeros in ZEROS for side in SIDES}
    runs = {key: instructions(host, tmp_path, isa, node) for key, node in nodes.items()}
    kept = [np.count_nonzero(nodes[zeros, SIDES[0]].weights[0]) for zeros in ZEROS]
    more = [runs[zeros, SIDES[1]] - runs[zeros, SIDES[0]] for zeros in ZEROS]
    lines = (SIDES[1] ** 2 - SIDES[0] ** 2) / LANES[isa]
    spent = (more[0] - more[1]) / ((kept[0] - kept[1]) * lines)
    assert 1 < spent <= most


def test_loops_with_avx512_keep_their_sums_in_registers(host: Path) -> None:
    kernels = inner_loops(next(host.parent.rglob("isa/avx512.cpp.o")), X86_64)
    assert len(kernels) > 60
    assert not spilling(kernels)
    assert spent(kernels, "single_rows<Float32, 3, 5, 7, 1>") <= 1.5
    assert spent(kernels, "pair_rows<Float32, 5, 7, 1>") <= 1.9


@pytest.mark.parametrize(
    ("source", "values"),
    [("avx512", "Float32"), ("avx2", "Float32"), ("avx512vnni", "Int8"), ("avxvnni", "Int8")],
)
def test_a_line_that_two_rows_read_is_loaded_once(host: Path, source: str, values: str) -> None:
    kernels = inner_loops(next(host.parent.rglob(f"isa/{source}.cpp.o")), X86_64)
    loops = [(name, loop) for name, found in kernels.items() if f"<{values}" in name for loop in found]
    assert len(loops) > 60
    for name, loop in loops:
        assert loop.loads * (2 if "pair" in name else 1) == loop.products, f"{name}: {loop}"
