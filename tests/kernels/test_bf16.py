"""Layers with weights of bf16: every shape against the oracle, and the same bits from all instruction sets but AMX."""

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.numerics.bounds import Tensor, rounded_to_bf16
from lth_deploy.kernels.program.ops.conv import Conv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.values import Act, Window
from tests.kernels.bf16_programs import BF16_CHAIN, BF16_TOKENS
from tests.kernels.dense_programs import window
from tests.kernels.held import hold
from tests.kernels.quantized_programs import numbered
from tests.kernels.region_models import BF16, model_of, open_model, random_constants, run_model

# Windows of every kind, odd numbers of channels, and one channel.
SHAPES = [
    (16, 24, window(3, 1)),
    (7, 5, window(3, 2)),
    (64, 33, window(3, 1)),
    (3, 16, window(7, 2)),
    (1, 4, window(3, 1)),
    (34, 40, window(1, 1)),
    (32, 12, window(1, 2)),
    (9, 16, window(5, 1)),
    (10, 6, Window((2, 3), (3, 1), (1, 0, 0, 2))),
]
LAYER_SETS = ("avx512vnni", "avx512", "avx2", "neon", "portable", "amx", "amx_emulated", "avx512 emulated")

ROWS = """\
lth_region 6
inputs 1
weight dense bf16 12,19 at 1
t0 = loadrows 0 channels=19
t1 = conv t0 w0 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=relu
output t1 rows
"""

SPARSE = """\
lth_region 6
inputs 1
weight dense bf16 64,64,3,3 at 1
t0 = load 0 channels=64
t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none
output t1
"""

ONE_CHANNEL = """\
lth_region 6
inputs 1
weight dense bf16 1,1,1,1 at 1
t0 = load 0 channels=1
t1 = conv t0 w0 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none
output t1
"""


def layers(inputs: int, outputs: int, shape: Window) -> Program:
    """A layer, the same with the first as a residual, and one behind it that reads what had to be rounded."""
    constants = numbered(
        ("dense", "bf16", (outputs, inputs, *shape.kernel), None),
        ("dense", "f32", (outputs,), None),
        ("gaps4", "bf16", (8, outputs, 3, 3), None),
    )
    first = Conv(0, 0, 1, shape, 1, None, Act("leaky", (0.1,)))
    steps = (
        Load(0, inputs),
        first,
        Conv(0, 0, None, shape, 1, 1, Act("silu")),
        Conv(2, 2, None, window(3, 1), 1, None, Act("relu")),
    )
    return Program(1, constants, steps, (Output(1), Output(3)))


@pytest.mark.parametrize("size", [(41, 29), (5, 3)])
@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("kernels", LAYER_SETS, indirect=True)
def test_every_shape_of_a_layer(kernels: Path, number: int, size: tuple[int, int]) -> None:
    program = layers(*SHAPES[number])
    rng = np.random.default_rng(number)
    x = rng.standard_normal((2, SHAPES[number][0], *size)).astype(np.float32)
    hold(program, random_constants(program, rng, 0.3 * (number % 3)), [x], kernels)


@pytest.mark.parametrize(("source", "shape"), [(BF16_TOKENS, (2, 9, 20)), (ROWS, (21, 19)), (ONE_CHANNEL, (1,) * 4)])
@pytest.mark.parametrize("kernels", LAYER_SETS, indirect=True)
def test_products_of_tokens_and_rows_round_their_input(kernels: Path, source: str, shape: tuple[int, ...]) -> None:
    program = parse(source)
    rng = np.random.default_rng(1)
    hold(program, random_constants(program, rng, 0.2), [rng.standard_normal(shape).astype(np.float32)], kernels)


def test_all_instruction_sets_but_amx_give_the_same_bits(instruction_sets: dict[str, Path]) -> None:
    program = layers(22, 16, window(3, 1))
    rng = np.random.default_rng(7)
    model = model_of(program, random_constants(program, rng, 0.4))
    x = rng.standard_normal((1, 22, 19, 23)).astype(np.float32)
    # Halves between two values, and what rounding makes of no number.
    x[0, 0, 0, :8] = [1.00390625, 1.01171875, -1.00390625, 3.39e38, 0.0, -0.0, 1e-40, 255.5]
    found = {}
    for name, library in instruction_sets.items():
        if "amx" not in name:
            with mock.patch.dict(os.environ, LTH_ISA=name.split()[0]):
                found[name] = [one.tobytes() for one in run_model(open_model(model, library), [x])[:1]]
    assert len(found) > 1
    assert len({tuple(outputs) for outputs in found.values()}) == 1, list(found)


def test_the_oracle_rounds_as_the_type_itself_does() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate(
        [rng.standard_normal(10_000) * 10.0 ** rng.integers(-30, 30, 10_000), [0.0, 1.00390625, 1.01171875]]
    )
    values = values.astype(np.float32)
    expected = values.astype(BF16).astype(np.float64)
    exact = rounded_to_bf16(Tensor(values.astype(np.float64), np.zeros(values.shape)))
    assert np.array_equal(exact.value, expected)
    assert exact.bound.max() < 1e-37
    between = rounded_to_bf16(Tensor(np.array([1.00390625]), np.array([1e-6])))
    assert between.bound[0] == pytest.approx(2.0**-7)


@pytest.mark.parametrize("kernels", LAYER_SETS, indirect=True)
def test_an_input_that_is_no_value_of_bf16_is_rounded(kernels: Path) -> None:
    program = parse(ONE_CHANNEL)
    one = np.ones((1, 1, 1, 1), np.float32)
    x = np.array([1.00390625, 1.01171875, 1.003, np.inf, np.nan, 3.0], np.float32).reshape(1, 1, 1, 6)
    (found,) = run_model(open_model(model_of(program, [one]), kernels), [x])
    assert found[0, 0, 0].tolist()[:3] == [1.0, 1.015625, 1.0]
    assert np.isinf(found[0, 0, 0, 3]) or np.isnan(found[0, 0, 0, 3])  # infinity times the zeros that fill up a cell
    assert np.isnan(found[0, 0, 0, 4])
    assert found[0, 0, 0, 5] == 3.0


@pytest.mark.parametrize("kernels", ["avx512vnni", "avx2", "neon", "portable", "amx_emulated"], indirect=True)
def test_threads_and_pictures_change_nothing(kernels: Path) -> None:
    program = layers(24, 20, window(3, 1))
    rng = np.random.default_rng(3)
    model = model_of(program, random_constants(program, rng, 0.0))
    x = rng.standard_normal((3, 24, 20, 30)).astype(np.float32)
    together = open_model(model, kernels, threads=4)
    first = run_model(open_model(model, kernels), [x])
    for _ in range(3):
        for one, other in zip(first, run_model(together, [x]), strict=True):
            assert np.array_equal(one, other)


def weight_bytes(library: Path, zeros: float, folder: Path) -> int:
    """Bytes of the packed weights of a layer of 64 channels, blocks of 2x4 kept at random."""
    program = parse(SPARSE)
    rng = np.random.default_rng(0)
    kept = (rng.random((32, 16, 3, 3)) >= zeros).repeat(2, axis=0).repeat(4, axis=1)
    profile = folder / f"{zeros}.jsonl"
    with mock.patch.dict(os.environ, LTH_PROFILE=str(profile)):
        session = open_model(model_of(program, [kept.astype(np.float32)]), library)
        run_model(session, [np.zeros((1, 64, 16, 16), np.float32)])
        del session
    return int(json.loads(profile.read_text())["weight_bytes"])


@pytest.mark.parametrize("kernels", ["amx", "amx_emulated"], indirect=True)
def test_matrix_tiles_multiply_layers_of_up_to_nine_tenths_zeros(kernels: Path, tmp_path: Path) -> None:
    tiles = 64 * 32 * 9 * 4
    for zeros in (0.0, 0.8, 0.9):
        assert tiles < weight_bytes(kernels, zeros, tmp_path) < 1.1 * tiles
    assert weight_bytes(kernels, 0.97, tmp_path) < 0.2 * tiles


@pytest.mark.parametrize("kernels", LAYER_SETS, indirect=True)
def test_tensors_that_are_stored_rounded_alone_give_the_same_bits(kernels: Path) -> None:
    program = parse(BF16_CHAIN)
    kept = parse(BF16_CHAIN + "".join(f"output t{i}\n" for i in range(1, 10)))
    rng = np.random.default_rng(5)
    constants = random_constants(program, rng, 0.1)
    for size in ((32, 48), (19, 23)):
        x = rng.standard_normal((2, 21, *size)).astype(np.float32)
        (found,) = run_model(open_model(model_of(program, constants), kernels), [x])
        assert np.array_equal(found, run_model(open_model(model_of(kept, constants), kernels), [x])[0])
        hold(kept, constants, [x], kernels)


def test_a_grouped_layer_and_a_bias_of_bf16_are_refused() -> None:
    source = text(layers(8, 8, window(3, 1)))
    assert parse(source).version == 6
    with pytest.raises(ArtifactError, match="a conv with a weight of bf16 has one group"):
        parse(source.replace("groups=1", "groups=2").replace("bf16 8,8,3,3 at 1\n", "bf16 8,4,3,3 at 1\n"))
    with pytest.raises(ArtifactError, match="has values of bf16, needed are f32 or f16"):
        parse(source.replace("dense f32 8", "dense bf16 8"))
    with pytest.raises(ArtifactError, match=r"write it as .lth_region 6."):
        parse(source.replace("lth_region 6", "lth_region 5"))


def test_an_input_of_one_channel_is_computed_by_the_oracle() -> None:
    (found,) = run(parse(ONE_CHANNEL), [np.full((1, 1, 1, 1), 2.0)], [np.full((1, 1, 1, 1), 1.00390625, np.float32)])
    assert found.item() == 2.0
