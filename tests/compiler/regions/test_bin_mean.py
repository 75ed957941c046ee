"""Means of bins in regions: models beside ONNX Runtime, and the layers in front of them that stay inside for them."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels.program.ops.bin_mean import BinMean
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of

FEEDS = {"x": noise(2, 16, 13, 17)}


def dfl(g: Graph, x: str, bins: int, groups: int) -> str:
    weights = g.constant("bins", np.arange(bins).reshape(-1, 1), np.float32)
    split, back = (g.constant(name, [0, 0, -1, size]) for name, size in (("split", bins), ("back", groups)))
    rows = g.op("Reshape", [g.op("Transpose", [x], "planes", perm=[0, 2, 3, 1]), split], "rows")
    mean = g.op("MatMul", [g.op("Softmax", [rows], "shares", axis=-1), weights], "means")
    return g.op("Transpose", [g.op("Reshape", [mean, back], "joined")], "distances", perm=[0, 3, 1, 2])


def head(zeros: float, bins: int = 8, groups: int = 4) -> Graph:
    g = Graph()
    x = g.op("Relu", [g.conv("x", "a", (16, 32))], "r")
    dfl(g, g.conv(x, "b", (32, bins * groups), kernel=1, zeros=zeros), bins, groups)
    return g


@pytest.mark.parametrize("sizes", [(2, 16, 13, 17), ("n", 16, "h", "w")])
@pytest.mark.parametrize("zeros", [0.85, 0.0])
def test_the_mean_is_inside_with_the_layer_in_front_of_it(zeros: float, sizes: tuple[int | str, ...]) -> None:
    packed, built, _ = regions_of(head(zeros).model({"x": sizes}, ["distances"]), "fp32")
    (node,) = (node for node in built.graph.node if is_region(node))
    program = program_of(node)
    (mean,) = (step for step in program.instructions if isinstance(step, BinMean))
    assert mean.groups == 4
    assert all(node.op_type not in ("Conv", "Softmax") for node in built.graph.node)
    assert_same(packed, built, FEEDS)


def test_a_layer_that_does_not_pay_stays_outside_where_no_mean_follows() -> None:
    g = head(0.0)
    g.nodes = g.nodes[:3]
    _, built, _ = regions_of(g.model({"x": (2, 16, 13, 17)}, ["b"]), "fp32")
    assert [node.op_type for node in built.graph.node if not is_region(node)].count("Conv") == 1


def _shares_are_read(g: Graph) -> list[str]:
    g.op("Relu", ["shares"], "also")
    return ["distances", "also"]


def _other_order(g: Graph) -> list[str]:
    g.nodes[-1].attribute[0].ints[:] = [0, 3, 2, 1]
    return ["distances"]


def _two_columns(g: Graph) -> list[str]:
    g.constant("bins", np.arange(16).reshape(8, 2), np.float32)
    g.constant("back", [0, 0, -1, 8])
    return ["distances"]


def _mixed_bins(g: Graph) -> list[str]:
    g.constant("split", [0, 0, -1, 16])
    g.constant("bins", np.arange(16).reshape(-1, 1), np.float32)
    g.constant("back", [0, 0, -1, 1])
    return ["distances"]


@pytest.mark.parametrize("change", [_shares_are_read, _other_order, _two_columns, _mixed_bins])
def test_others_stay_outside_and_compute_the_same(change: object) -> None:
    g = head(0.85)
    outputs = change(g)  # type: ignore[operator]
    packed, built, _ = regions_of(g.model({"x": (2, 16, 13, 17)}, outputs), "fp32")
    (node,) = (node for node in built.graph.node if is_region(node))
    assert not any(isinstance(step, BinMean) for step in program_of(node).instructions)
    assert_same(packed, built, FEEDS)
