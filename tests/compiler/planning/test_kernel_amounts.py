"""What instructions of a region have to do, and what times follow from rates."""

import math

import numpy as np
import pytest

from lth_deploy.compiler.planning.amounts import is_rated, milliseconds, rate_of
from lth_deploy.compiler.planning.kernel_amounts import kernel_amounts
from lth_deploy.compiler.planning.layer_amounts import Tensor, layer_amounts
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.conv import Conv, MatMul, QConv, QMatMul
from lth_deploy.kernels.program.ops.layer_norm import LayerNorm
from lth_deploy.kernels.program.ops.load import Load, LoadTokens
from lth_deploy.kernels.program.ops.max_pool import MaxPool, ZeroMaxPool
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse
from lth_deploy.kernels.program.values import Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.host_nodes import NODES

OUT = Quantized(0.1, 0)
WINDOW = Window((3, 3), (2, 2), (1, 1, 1, 1))
POOLS = (MaxPool, ZeroMaxPool)


def test_sizes_follow_windows_and_cells_fill_the_layout() -> None:
    weights = np.zeros((8, 8, 3, 3), np.float32)
    weights[:, 0] = 1
    program = Program(
        1,
        (Weight("dense", "f32", (8, 8, 3, 3), None, 1),),
        (Load(0, 8), Conv(0, 0, None, WINDOW, act=Act("silu")), MaxPool(1, Window((3, 3), (1, 1), (1, 1, 1, 1)))),
        (Output(2),),
    )
    steps, stored = kernel_amounts(program, [(1, 8, 18, 18)], lambda number: weights)
    load, conv, pool = steps
    assert load["load"] == 8 * 20 * 20  # 18 pixels fill five lines of four
    places = 12 * 12  # 9 x 9 pixels
    assert conv["conv.macs"] == 8 * 9 * places
    assert conv["conv.paired lines"] == 8 * 8 * places  # outputs 2 i and 2 i + 1 have the same zeros
    assert conv["silu"] == conv["conv.outputs"] == 8 * places
    assert pool["maxpool taps"] == 9 * pool["maxpool"] == 9 * 8 * places
    # Of three lines of a sub-image, a tap beside the middle leaves it once.
    assert pool["maxpool rim"] == pytest.approx(8 * places * (9 - (1 + 2 * 2 / 3) ** 2))
    assert stored == {"store": 8 * places}


def test_a_pool_whose_padding_is_zero_counts_as_any_other() -> None:
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    programs = [Program(1, (), (Load(0, 8), pool(0, window)), (Output(1),)) for pool in POOLS]
    one, other = (kernel_amounts(program, [(1, 8, 18, 18)], lambda number: np.zeros(0)) for program in programs)
    assert one == other


def test_bytes_that_no_cache_holds_are_counted_by_themselves() -> None:
    program = Program(1, (), (Load(0, 8), Activate(0, Act("silu"))), (Output(1),))
    near, far = (kernel_amounts(program, [(1, 8, side, side)], lambda _: np.zeros(0))[0][1] for side in (64, 256))
    assert "far" not in near
    assert far["far"] == 2 * 4 * far["silu"] == 2 * 4 * 8 * 256**2


def test_an_int8_layer_is_counted_as_it_is_computed() -> None:
    x = made = Tensor(1, 16, 8, 8, True, False)
    rng = np.random.default_rng(0)
    full = np.ones((16, 16, 1, 1), np.int8)
    quads = full * (rng.random((16, 4, 1, 1)) < 0.5).repeat(4, axis=1).astype(np.int8)
    pairs = full * (rng.random((8, 4, 1, 1)) < 0.5).repeat(4, axis=1).repeat(2, axis=0).astype(np.int8)
    for weights, term in ((full, "full macs"), (quads, "macs"), (pairs, "pair macs")):
        amounts = layer_amounts(weights, 1, Window(), x, made)
        assert amounts[f"int8 pointwise.{term}"] == np.count_nonzero(weights) * 64


def test_conversions_at_the_borders_count_once() -> None:
    program = Program(
        1,
        (Weight("dense", "s8", (4, 4, 1, 1), None, 1), Weight("dense", "f32", (4,), None, 2)),
        (Load(0, 4), Quantize(0, OUT), QConv(1, 0, 1, None, out=OUT), Dequantize(2)),
        (Output(3),),
    )
    steps, stored = kernel_amounts(program, [(1, 4, 4, 4)], lambda number: np.ones((4, 4, 1, 1), np.int8))
    assert steps[0] == steps[3] == {}
    assert steps[1] == {"int8 load": 16, "call": 1}
    assert stored == {"store": 64}


def test_an_activation_alone_costs_itself_and_the_way_through_memory() -> None:
    program = Program(1, (), (Load(0, 2), Activate(0, Act("tanh"))), (Output(1),))
    steps, _ = kernel_amounts(program, [(1, 2, 4, 4)], lambda number: np.zeros(1))
    assert steps[1] == {"act": 32, "tanh": 32, "call": 1}


def test_times_are_amounts_times_rates_and_strangers_stand_for_others() -> None:
    rates = {"conv.macs": 2.0, "silu": 3.0, "int8 requantize": 5.0, "pointwise.macs": 7.0}
    assert milliseconds({"conv.macs": 1e6, "silu": 1e6}, rates) == 5.0
    assert milliseconds({"softsign": 1e6}, rates) == 3.0
    assert milliseconds({"int8 softsign": 1e6}, rates) == 5.0
    assert milliseconds({"conv.lines": 1e6}, rates) == 0.0
    assert rate_of("rows.macs", rates) == 7.0
    assert rate_of("int8 qresidual", {"int8 qadd": 0.5, "int8 requantize": 0.05}) == 0.5
    assert is_rated({"conv.macs": 1}, rates)
    assert not is_rated({"Einsum": 1}, rates)
    assert is_rated({"conv.macs": 1, "conv.later term": 1, "far": 1}, rates)  # a table from before they were counted
    assert not is_rated({"depthwise.later term": 1}, rates)
    assert math.isclose(milliseconds({}, rates), 0.0)


def test_tokens_are_rows_and_their_products_are_counted_as_those_of_rows() -> None:
    weights = np.zeros((8, 24), np.float32)  # [inputs, outputs]
    weights[0] = 1
    program = Program(
        1,
        (Weight("dense", "f32", (8, 24), None, 1),),
        (LoadTokens(0, 8), MatMul(0, 0, act=Act("gelu")), LayerNorm(1, None, None, 1e-5)),
        (Output(2, rows=True),),
    )
    steps, stored = kernel_amounts(program, [(2, 20, 8)], lambda number: weights)
    load, product, norm = steps
    places = 48  # 40 rows fill three lines of 16
    assert load["loadtokens"] == 8 * places
    assert product["rows.macs"] == 24 * places
    assert product["rows.inputs"] == 8 * places
    assert product["gelu"] == norm["layernorm"] == 24 * places
    assert stored == {"storerows": 24 * places}


def test_int8_products_of_tokens_count_quads_of_inputs() -> None:
    weights = np.zeros((8, 24), np.int8)
    weights[:4] = 1
    program = Program(
        1,
        (Weight("dense", "s8", (8, 24), None, 1), Weight("dense", "f32", (24,), None, 2)),
        (LoadTokens(0, 8), Quantize(0, OUT), QMatMul(1, 0, 1, None)),
        (Output(2, rows=True),),
    )
    steps, _ = kernel_amounts(program, [(1, 16, 8)], lambda number: weights)
    assert steps[0] == {}
    assert steps[1]["int8 load"] == 2 * 16
    assert steps[2]["int8 rows.pair macs"] == 4 * 24 * 16


@pytest.mark.parametrize("name", NODES)
def test_every_operator_has_amounts_and_the_sizes_that_it_makes(name: str) -> None:
    source, shapes = NODES[name]
    program = parse(source)
    weights = [np.ones(weight.dims, np.int8 if weight.value_type == "s8" else np.float32) for weight in program.weights]
    steps, stored = kernel_amounts(program, shapes, lambda number: weights[number])
    assert len(steps) == len(program.instructions)
    assert all(math.isfinite(amount) and amount >= 0 for step in steps for amount in step.values())
    made = run(program, weights, [np.ones(shape, np.float32) for shape in shapes])
    assert sum(stored.values()) == sum(_cells(value.shape) for value in made)


def _cells(shape: tuple[int, ...]) -> int:
    if len(shape) != 4:
        return shape[-1] * 16 * -(-math.prod(shape[:-1]) // 16)
    return shape[0] * shape[1] * 16 * -(-shape[2] // 4) * -(-shape[3] // 4)


def test_a_layer_in_matrix_tiles_counts_products_loads_and_lines() -> None:
    """64 inputs are one step of 16 cells; 32 x 32 pixels are 64 lines, two blocks of four lines a row."""
    x = made = Tensor(1, 64, 32, 32, True, False)
    window, l2 = Window((3, 3), (1, 1), (1, 1, 1, 1)), 2 << 20
    full = np.ones((32, 64, 3, 3), np.int8)
    amounts = layer_amounts(full, 1, window, x, made, l2)
    assert amounts["int8 tiles.weights"] == 2 * 9
    assert amounts["int8 tiles.products"] == 2 * 9 * 64
    # Of each kernel row 3 tiles of weights and 4 + 2 columns of lines for each block.
    assert amounts["int8 tiles.loads"] == 2 * 3 * (3 + 6) * 16
    assert amounts["int8 tiles.copied"] == 16 * 64
    half = full.copy()
    half[:, 16:] = 0
    gathered = layer_amounts(half, 1, window, x, made, l2)
    # 36 places of both groups of outputs: three tiles, the lines of which are gathered once for 32 outputs.
    assert gathered["int8 tiles.weights"] == 2 * 3
    assert gathered["int8 tiles.gathered"] == 3 * 16 * 64
    assert not any("tiles" in name for name in layer_amounts(full, 1, window, x, made))
    assert not any("tiles" in name for name in layer_amounts(full[:1], 1, window, x, made, l2))
