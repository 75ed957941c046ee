"""Products, differences, factors of channels and global means in regions."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of


def steps_of(g: Graph, outputs: tuple[str, ...] = ("y",), opset: int = 18) -> list[str]:
    """The instructions of the one region of a graph, which a stock runtime and the oracle compute alike."""
    packed, built, plan = regions_of(g.model({"x": ("n", 8, "h", "w")}, outputs))
    assert len(plan.regions) == 1
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    assert_same(packed, built, {"x": noise(2, 8, 13, 18)})
    lines = text(program_of(built.graph.node[0])).splitlines()
    return [line.partition(" = ")[2] for line in lines if " = " in line]


@pytest.mark.parametrize("mean", ["GlobalAveragePool", "ReduceMean", "ReduceMean with an attribute"])
@pytest.mark.parametrize("swap", [False, True])
def test_a_block_of_squeeze_and_excitation_lies_in_one_region(mean: str, swap: bool) -> None:
    g = Graph(17 if "attribute" in mean else 18)
    a = g.op("Relu", [g.conv("x", "a", (8, 16))], "b")
    if mean == "ReduceMean":
        pooled = g.op("ReduceMean", [a, g.constant("axes", [-1, -2])], "pooled")
    elif "attribute" in mean:
        pooled = g.op("ReduceMean", [a], "pooled", axes=[2, 3], keepdims=1)
    else:
        pooled = g.op("GlobalAveragePool", [a], "pooled")
    squeezed = g.op("Relu", [g.conv(pooled, "squeezed", (16, 8), 1)], "s")
    gate = g.op("Sigmoid", [g.conv(squeezed, "excited", (8, 16), 1)], "gate")
    g.conv(g.op("Mul", [gate, a] if swap else [a, gate], "product"), "y", (16, 8))
    steps = steps_of(g)
    assert [step.split(" ")[0] for step in steps] == [
        "load",
        "conv",
        "globalaveragepool",
        *["conv"] * 2,
        "multiply",
        "conv",
    ]
    assert steps[5] == "multiply t1 t4 act=none"


def test_a_factor_and_a_shift_of_each_channel() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.tensors["factor"], g.tensors["shift"] = noise(1, 16, 1, 1), noise(16, 1, 1, seed=2)
    g.op("Relu", [g.op("Add", [g.op("Mul", ["a", "factor"], "m"), "shift"], "b")], "c")
    g.op("Mul", ["factor", g.op("Add", ["shift", "c"], "d")], "e")
    g.op("Add", ["e", "c"], "f")
    g.conv("f", "y", (16, 8))
    assert steps_of(g)[2:-2] == ["scale t1 w2 w3 act=relu", "scale t2 - w3 act=none", "scale t3 w2 - act=none"]


def test_differences_and_products_of_two_tensors() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.conv("x", "b", (8, 16))
    g.op("Sub", ["a", "b"], "c")
    g.op("Relu", [g.op("Mul", ["c", "b"], "d")], "e")
    g.conv("e", "y", (16, 8))
    assert steps_of(g)[3:5] == ["subtract t1 t2 act=none", "multiply t3 t2 act=relu"]


def test_a_mean_that_is_no_plane_ends_the_region() -> None:
    g = Graph(18)
    g.conv("x", "a", (8, 16))
    g.op("ReduceMean", ["a", g.constant("axes", [2, 3])], "y", keepdims=0)
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"], rank=2))
    assert [node.op_type for node in built.graph.node] == ["Region0", "ReduceMean"]
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_a_constant_of_a_row_of_pixels_is_no_factor_of_channels() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.tensors["row"] = noise(1, 1, 1, 16)
    g.op("Mul", ["a", "row"], "y")
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", 16)}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0", "Mul"]
    assert_same(packed, built, {"x": np.asarray(noise(1, 8, 12, 16))})
