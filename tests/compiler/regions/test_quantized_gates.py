"""Squeeze and excitation, products, means and pads between bytes: nothing of them is computed on planes of floats."""

import pytest

from lth_deploy.kernels.program.ops.multiply import QGate
from tests.compiler.regions.quantized_graphs import QuantizedGraph, silu
from tests.compiler.regions.quantized_programs import PICTURE, assert_on_bytes, head, only_program, steps_of
from tests.compiler.regions.region_graphs import assert_same, noise, regions_of

FEEDS = {"x": noise(1, 16, 8, 12)}


def swish(g: QuantizedGraph, kind: str, x: str, output: str) -> str:
    return silu(g, x, output) if kind == "silu" else g.op(kind, [x], output)


def mean(g: QuantizedGraph, x: str, output: str, reduced: bool) -> str:
    if not reduced:
        return g.op("GlobalAveragePool", [x], output)
    g.constant(f"{output}.axes", [2, 3])
    return g.op("ReduceMean", [x, f"{output}.axes"], output, keepdims=1)


def factors(g: QuantizedGraph, x: str, kind: str = "HardSigmoid", reduced: bool = False) -> str:
    """The gate of a tensor of 16 channels, in floats."""
    m = g.bytes_of(mean(g, x, "mean", reduced), 0.004, 30)
    squeezed = g.qconv(m, "squeeze", (16, 8), 1, scale=0.01, zero=0)
    excited = g.qconv(squeezed, "excite", (8, 16), 1, scale=0.01, zero=128)
    return g.op(kind, [excited], "gate")


@pytest.mark.parametrize(("kind", "reduced"), [("HardSwish", False), ("silu", True), ("Relu", False)])
def test_squeeze_and_excitation_of_an_activation(kind: str, reduced: bool) -> None:
    """As this package quantizes: the activation has no grid, its mean and its product with the gate have."""
    g = QuantizedGraph()
    s = swish(g, kind, g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128), "s")
    gated = g.op("Mul", [s, factors(g, s, reduced=reduced)], "gated")
    last = head(g, g.bytes_of(gated, 0.02, 9), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    steps = steps_of(program)
    assert (steps["QGlobalAveragePool"], steps["QGate"], steps["Quantize"]) == (1, 1, 1)
    assert (steps["Multiply"], steps["GlobalAveragePool"], program.version) == (0, 0, 5)
    (gate,) = (step for step in program.instructions if isinstance(step, QGate))
    assert gate.act.kind == {"silu": "silu", "HardSwish": "hardswish", "Relu": "relu"}[kind]
    assert_same(packed, built, FEEDS)


@pytest.mark.parametrize("first", [False, True])
def test_squeeze_and_excitation_with_a_grid_for_each_tensor(first: bool) -> None:
    """As ONNX Runtime's quantizer does by default."""
    g = QuantizedGraph()
    s = g.bytes_of(g.op("HardSwish", [g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)], "s"), 0.02, 14)
    gate = g.bytes_of(factors(g, s), 0.004, 0)
    gated = g.op("Mul", [gate, s] if first else [s, gate], "gated")
    last = head(g, g.bytes_of(gated, 0.02, 9), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    steps = steps_of(only_program(built))
    assert (steps["QGlobalAveragePool"], steps["QGate"], steps["Quantize"]) == (1, 1, 1)
    assert_same(packed, built, FEEDS)


@pytest.mark.parametrize("reader", ["conv", "float"])
def test_a_tensor_with_bytes_is_gated_in_bytes_whatever_else_reads_it(reader: str) -> None:
    """So the file is what its own function becomes, in which other readers have a DequantizeLinear of their own."""
    g = QuantizedGraph()
    s = g.bytes_of(g.op("HardSwish", [g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)], "s"), 0.02, 14)
    last = head(g, g.bytes_of(g.op("Mul", [s, factors(g, s)], "gated"), 0.02, 9), 16)
    other = g.qconv(s, "other", (16, 16), scale=0.05, zero=128) if reader == "conv" else g.op("Sin", [s], "wave")
    packed, built, _ = regions_of(g.model(PICTURE, [last, other]), least=0.3)
    steps = steps_of(only_program(built))
    assert (steps["QGlobalAveragePool"], steps["QGate"]) == (1, 1)
    assert_same(packed, built, FEEDS)


@pytest.mark.parametrize("reader", ["float", "output"])
def test_an_activation_that_others_read_as_floats_stays_in_floats(reader: str) -> None:
    g = QuantizedGraph()
    s = g.op("HardSwish", [g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)], "s")
    gated = g.op("Mul", [s, factors(g, s)], "gated")
    last = head(g, g.bytes_of(gated, 0.02, 9), 16)
    outputs = [last, s if reader == "output" else g.op("Sin", [s], "wave")]
    packed, built, _ = regions_of(g.model(PICTURE, outputs), least=0.3)
    steps = steps_of(only_program(built))
    assert (steps["QGate"], steps["QGlobalAveragePool"]) == (0, 0)
    assert_same(packed, built, FEEDS)


@pytest.mark.parametrize("kind", [None, "Sigmoid", "silu"])
@pytest.mark.parametrize("first", [False, True])
def test_products_of_two_tensors(kind: str | None, first: bool) -> None:
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    y = g.qconv(g.bytes_of("x2"), "b", (16, 16), scale=0.02, zero=120)
    made = y if kind is None else swish(g, kind, y, "s")
    last = head(g, g.bytes_of(g.op("Mul", [made, x] if first else [x, made], "product"), 0.02, 100), 16)
    packed, built, _ = regions_of(g.model({**PICTURE, "x2": PICTURE["x"]}, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert steps_of(program)["QMultiply"] == 1
    assert_same(packed, built, {**FEEDS, "x2": noise(1, 16, 8, 12, seed=5)})


def test_an_activation_of_a_product_stays_behind_it() -> None:
    """`qmultiply` has the activation of an operand; that of the product is none of it."""
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    y = g.qconv(x, "b", (16, 16), scale=0.02, zero=120)
    s = g.op("HardSwish", [g.op("Mul", [x, y], "product")], "s")
    last = head(g, g.bytes_of(s, 0.02, 10), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    assert steps_of(only_program(built))["QMultiply"] == 0
    assert_same(packed, built, FEEDS)


@pytest.mark.parametrize("include", [0, 1])
def test_means_over_windows_and_pads(include: int) -> None:
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    g.constant("sides", [0, 0, 1, 0, 0, 0, 1, 2])
    padded = g.bytes_of(g.op("Pad", [x, "sides"], "padded"), 0.03, 128)
    pooled = g.op(
        "AveragePool",
        [padded],
        "pooled",
        kernel_shape=[3, 2],
        pads=[1, 0, 1, 0],
        strides=[2, 1],
        count_include_pad=include,
    )
    last = head(g, g.bytes_of(pooled, 0.025, 120), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    steps = steps_of(program)
    assert (steps["QPad"], steps["QAveragePool"]) == (1, 1)
    assert_same(packed, built, FEEDS)


def test_a_pad_of_an_activation_moves_bytes() -> None:
    """A QuantizeLinear moves in front of the Pad: its zeros are the zero point."""
    g = QuantizedGraph()
    s = g.op("HardSwish", [g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)], "s")
    g.constant("sides", [0, 0, 1, 1, 0, 0, 0, 2])
    last = head(g, g.bytes_of(g.op("Pad", [s, "sides"], "padded"), 0.02, 14), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert steps_of(program)["QPad"] == 1
    assert_same(packed, built, FEEDS)
