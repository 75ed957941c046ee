"""Depthwise and grouped layers in regions: which are inside, and that a stock runtime computes what the oracle does."""

import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.planning.cost_model import layer_class, layer_cost
from lth_deploy.compiler.planning.select_regions import Facts, plan_regions
from lth_deploy.compiler.regions.classify import classified
from lth_deploy.config.target import Target
from lth_deploy.kernels.program.ops.conv import Conv, QConv
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_programs, assert_same, noise, regions_of

X = ("n", 8, "h", "w")


def mobile(groups: int = 16, outputs: int = 16, zeros: float = 0.0, **attributes: object) -> Graph:
    """Pointwise layers with a grouped one between, as mobile networks have it."""
    g = Graph()
    g.op("Relu", [g.conv("x", "a", (8, 16), 1)], "r")
    g.weight("d.weight", (outputs, 16 // groups, 3, 3), zeros)
    g.op("Conv", ["r", "d.weight"], "d", group=groups, **({"pads": [1, 1, 1, 1]} | attributes))
    g.op("HardSwish", ["d"], "s")
    g.conv("s", "y", (outputs, 8), 1)
    return g


@pytest.mark.parametrize(
    ("groups", "outputs", "attributes"),
    [
        (16, 16, {}),
        (16, 16, {"strides": [2, 2]}),
        (16, 32, {"dilations": [2, 1], "pads": [2, 1, 0, 1]}),
        (8, 16, {}),
        (4, 32, {"strides": [1, 2]}),
        (2, 16, {}),
    ],
)
def test_a_grouped_layer_joins_the_layers_around_it(groups: int, outputs: int, attributes: dict[str, object]) -> None:
    packed, built, plan = regions_of(mobile(groups, outputs, **attributes).model({"x": X}, ["y"]))
    assert [region.nodes for region in plan.regions] == [("a", "d", "y")]
    (node,) = [node for node in built.graph.node if is_region(node)]
    layers = [step for step in program_of(node).instructions if isinstance(step, Conv)]
    assert [step.groups for step in layers] == [1, groups, 1]
    assert_same(packed, built, {"x": noise(2, 8, 11, 14)})


@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_a_depthwise_layer_begins_and_ends_no_region(zeros: float) -> None:
    g = Graph()
    for name, before in (("d", "x"), ("e", "a")):
        g.op("Conv", [before, g.weight(f"{name}.weight", (16, 1, 3, 3), zeros)], name, group=16, pads=[1, 1, 1, 1])
        if name == "d":
            g.conv("d", "a", (16, 16))
    packed, built, plan = regions_of(g.model({"x": ("n", 16, "h", "w")}, ["e"]))
    assert [region.nodes for region in plan.regions] == [("a",)]
    assert all("multiply zeros too" in plan.outside[f"{name}.weight"] for name in "de")
    assert_same(packed, built, {"x": noise(1, 16, 9, 9)})


@pytest.mark.parametrize(("groups", "rates"), [(16, "depthwise"), (4, "grouped")])
def test_the_cost_of_a_grouped_layer_has_rates_of_its_own(groups: int, rates: str) -> None:
    costs = []
    for zeros in (0.0, 0.9):
        packed, _, _ = regions_of(mobile(groups, zeros=zeros).model({"x": X}, ["y"]))
        (op,) = [op for op in classified(packed).ops if op.weight == "d.weight"]
        stored = stored_weights(packed)["d.weight"]
        assert layer_class(op, stored.shape) == rates
        costs.append(layer_cost(op, stored, 400, Target().costs))
    assert costs[0].dense == costs[1].dense
    assert (costs[0].sparse == costs[1].sparse) == (rates == "depthwise")


@pytest.mark.parametrize(("rate", "inside"), [(1000.0, True), (0.1, False)])
def test_its_cost_counts_when_a_region_is_planned(rate: float, inside: bool) -> None:
    packed, _, _ = regions_of(mobile().model({"x": X}, ["y"]))
    table = {
        "layout_ns": 0.0,
        "pointwise": {"dense": 10.0, "sparse": 50.0},
        "depthwise": {"dense": 33.0, "sparse": rate},
    }
    target = Target.model_validate({"costs": table})
    times = {"a.weight": 10_000, "d.weight": 10_000, "y.weight": 10_000}
    _, plan, costs = plan_regions(packed, target, Facts(times))
    assert costs["d.weight"].sparse == pytest.approx(16 * 9 * 10_000 / rate / 1e6, rel=0.05)
    assert [region.weights for region in plan.regions] == ([("a.weight", "d.weight", "y.weight")] if inside else [])


@pytest.mark.parametrize(("groups", "name"), [(16, "qgrouped"), (8, "qgrouped"), (4, "qconv"), (2, "qconv")])
def test_between_quantized_tensors(groups: int, name: str) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), kernel=1, scale=0.02, zero=0)
    d = g.qconv(a, "d", (16, 16), group=groups, scale=0.04, zero=100, zeros=0.0)
    y = g.qconv(d, "y", (16, 8), kernel=1, scale=0.05, zero=100)
    packed, built, plan = regions_of(g.model({"x": ("n", 16, "h", "w")}, [y]), least=0.1)
    assert [region.nodes for region in plan.regions] == [("a", "d", "y")]
    (node,) = [node for node in built.graph.node if is_region(node)]
    program = program_of(node)
    assert [step.NAME for step in program.instructions if isinstance(step, QConv)] == ["qconv", name, "qconv"]
    assert text(program).startswith(f"lth_region {3 if name == 'qgrouped' else 1}\n")
    assert_same(packed, built, {"x": noise(1, 16, 9, 11)})
    assert_programs(built, {"x": noise(2, 16, 13, 8)})
