"""Regions never depend on each other in a cycle, though nodes outside read what they quantize."""

import onnx
import pytest

from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import assert_same, noise, regions_of

PLANE = [8, 12]


def check(g: QuantizedGraph, inputs: list[str], outputs: list[str], layers: set[str]) -> int:
    """All layers are in regions, which compute the same bits; how many regions there are."""
    packed, built, plan = regions_of(g.model({name: [1, 16, *PLANE] for name in inputs}, outputs), least=0.3)
    assert {name for region in plan.regions for name in region.nodes} == layers
    onnx.checker.check_model(built)
    assert_same(packed, built, {name: noise(1, 16, *PLANE, seed=seed) for seed, name in enumerate(inputs)})
    return len(plan.regions)


def test_a_region_does_not_read_what_is_made_outside_of_its_own_floats() -> None:
    """A layer quantizes the input, an activation outside reads the same values, and a node joins both."""
    g = QuantizedGraph()
    x = g.bytes_of("x")
    a = g.qconv(x, "a", (16, 8), scale=0.05)
    j = g.op("Concat", [a, g.op("HardSwish", [x], "outside")], "joined", axis=1)
    assert check(g, ["x"], [j], {"a"}) == 1


def test_two_regions_do_not_wait_for_each_other() -> None:
    g = QuantizedGraph()
    x, y = g.bytes_of("x"), g.bytes_of("y")
    a, b = g.qconv(x, "a", (16, 8), scale=0.05), g.qconv(y, "b", (16, 8), scale=0.05)
    of_x, of_y = g.op("HardSwish", [x], "of_x"), g.op("HardSwish", [y], "of_y")
    first = g.op("Concat", [a, of_y], "first", axis=1)
    second = g.op("Concat", [b, of_x], "second", axis=1)
    assert check(g, ["x", "y"], [first, second], {"a", "b"}) == 2


def test_regions_that_share_a_weight_are_not_merged_around_nodes_outside() -> None:
    """The second layer waits for nothing, what joins its result does."""
    g = QuantizedGraph()
    x, y = g.bytes_of("x"), g.bytes_of("y")
    a = g.qconv(x, "a", (16, 8), scale=0.05)
    g.op("Conv", [y, "a.weight.dq", "a.bias.dq"], "b", pads=[1] * 4)
    b = g.bytes_of("b", 0.05)
    j = g.op("Concat", [b, g.op("HardSwish", [x], "outside")], "joined", axis=1)
    assert check(g, ["x", "y"], [a, j], {"a", "b"}) == 1


@pytest.mark.parametrize("pool", [False, True])
def test_what_comes_back_to_layers_begins_another_region(pool: bool) -> None:
    """No layer is lost where its input depends on the region before it in two ways."""
    g = QuantizedGraph()
    x = g.bytes_of("x")
    a = g.qconv(x, "a", (16, 16), scale=0.05)
    outside = g.op("Sin", [x], "outside")
    if pool:
        outside = g.op("MaxPool", [outside], "pooled", kernel_shape=[3, 3], pads=[1] * 4)
    s = g.bytes_of(g.op("Add", [a, outside], "sum"), 0.06)
    assert check(g, ["x"], [g.qconv(s, "b", (16, 8), scale=0.05)], {"a", "b"}) == 2
