"""Sums between bytes with activations before or behind them: one instruction, rounded once."""

import numpy as np
import pytest
from onnx import ModelProto

from tests.compiler.regions.quantized_graphs import QuantizedGraph, silu, split
from tests.compiler.regions.quantized_programs import PICTURE, assert_on_bytes, head, only_program, steps_of
from tests.compiler.regions.region_graphs import assert_programs, assert_same, noise, regions_of, run


@pytest.mark.parametrize("kind", ["silu", "HardSwish", "Relu"])
@pytest.mark.parametrize("first", [False, True])
def test_a_shortcut_around_an_activation(kind: str, first: bool) -> None:
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    b = g.qconv(x, "b", (16, 16), scale=0.03, zero=120)
    made = silu(g, b, "s") if kind == "silu" else g.op(kind, [b], "s")
    total = g.op("Add", [made, x] if first else [x, made], "sum")
    last = head(g, g.bytes_of(total, 0.025, 11), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert (steps_of(program)["QResidual"], program.version) == (1, 4)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def assert_on_each_step(packed: ModelProto, built: ModelProto) -> None:
    """A layer that takes in a sum rounds it once: from end to end values may be some steps off, step by step none."""
    feeds = {"x": noise(1, 16, 8, 12)}
    for a, b in zip(run(packed, feeds), run(built, feeds), strict=True):
        assert np.array_equal(a, b)
    assert_programs(built, feeds, slack=0.2)


def test_an_activation_of_a_sum() -> None:
    """YOLOv9's blocks: SiLU of the sum of two layers."""
    g = QuantizedGraph()
    x = g.bytes_of("x")
    parts = [g.qconv(x, name, (16, 16), kernel, scale=0.03, zero=128) for name, kernel in (("a", 3), ("b", 1))]
    s = silu(g, g.op("Add", parts, "sum"), "s")
    last = head(g, g.bytes_of(s, 0.025, 11), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert steps_of(program) == {"Load": 1, "Quantize": 1, "QConv": 3, "Dequantize": 1}, "a layer takes in the other"
    assert_on_each_step(packed, built)


def test_sums_are_rounded_in_front_of_a_concat() -> None:
    """A shortcut and an activated sum, both joined with halves of an activation before the next layer rounds them."""
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    first, second = split(g, silu(g, a, "s"), [8, 8], ["first", "second"])
    on_grid = g.bytes_of(second, 0.02, 14)
    t = silu(g, g.qconv(on_grid, "b", (8, 8), scale=0.03, zero=120), "t")
    shortcut = g.op("Add", [on_grid, t], "shortcut")
    parts = [g.qconv(on_grid, name, (8, 8), 1, scale=0.03, zero=128) for name in ("c", "d")]
    activated = silu(g, g.op("Add", parts, "sum"), "u")
    j = g.op("Concat", [first, shortcut, activated], "joined", axis=1)
    last = head(g, g.bytes_of(j, 0.025, 11), 24)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    counts = steps_of(program)
    assert (counts["QResidual"], counts["Add"], counts["Concat"]) == (1, 0, 1)
    assert_on_each_step(packed, built)


def test_a_sum_that_others_read_as_floats_is_no_shortcut_between_bytes() -> None:
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    made = silu(g, g.qconv(x, "b", (16, 16), scale=0.03, zero=120), "s")
    total = g.op("Add", [x, made], "sum")
    last = head(g, g.bytes_of(total, 0.025, 11), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last, "sum"]), least=0.3)
    assert not steps_of(only_program(built))["QResidual"]
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})
