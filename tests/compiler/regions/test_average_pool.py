"""AveragePool in regions: which nodes have an instruction, and that a stock runtime computes it as the oracle does."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_programs, assert_same, noise, regions_of


def pooled(opset: int = 18, **attributes: object) -> Graph:
    g = Graph(opset)
    g.op("AveragePool", [g.conv("x", "a", (8, 16))], "p", kernel_shape=[3, 3], **attributes)
    g.conv("p", "y", (16, 8))
    return g


def line_of(g: Graph, size: tuple[int, int] = (13, 18)) -> str:
    """The line of the pool; a stock runtime, the graph with its region and the oracle agree."""
    packed, built, plan = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert len(plan.regions) == 1
    assert_same(packed, built, {"x": noise(2, 8, *size)})
    (node,) = [node for node in built.graph.node if is_region(node)]
    lines = text(program_of(node)).splitlines()
    assert lines[0] == "lth_region 2"
    (line,) = [line for line in lines if "averagepool" in line]
    return line.partition(" = ")[2]


@pytest.mark.parametrize("opset", [11, 13, 19, 22])
def test_the_usual_pool(opset: int) -> None:
    line = line_of(pooled(opset, strides=[2, 2], pads=[1, 1, 1, 1]))
    assert line == "averagepool t1 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1 include_pads=0"


@pytest.mark.parametrize(
    ("attributes", "ends"),
    [
        ({"pads": [2, 1, 0, 2], "count_include_pad": 1}, "pads=2,1,0,2 dilation=1,1 include_pads=1"),
        ({"pads": [2, 1, 0, 2], "strides": [1, 3]}, "pads=2,1,0,2 dilation=1,1 include_pads=0"),
        ({"auto_pad": "VALID", "strides": [2, 1]}, "pads=0,0,0,0 dilation=1,1 include_pads=0"),
        ({"auto_pad": "SAME_UPPER"}, "pads=1,1,1,1 dilation=1,1 include_pads=0"),
        ({"auto_pad": "SAME_LOWER", "count_include_pad": 1}, "pads=1,1,1,1 dilation=1,1 include_pads=1"),
        ({"dilations": [2, 3]}, "pads=0,0,0,0 dilation=2,3 include_pads=0"),
    ],
)
def test_pads_and_dilations(attributes: dict[str, object], ends: str) -> None:
    assert line_of(pooled(19, **attributes)).endswith(ends)


@pytest.mark.parametrize(
    "attributes",
    [
        {"ceil_mode": 1},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"dilations": [2, 2], "pads": [1, 1, 1, 1]},
    ],
)
def test_a_pool_without_an_instruction_stays_outside(attributes: dict[str, object]) -> None:
    packed, built, _ = regions_of(pooled(19, **attributes).model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert [node.op_type for node in built.graph.node].count("AveragePool") == 1
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_no_region_ends_with_a_pool() -> None:
    g = Graph()
    g.op("AveragePool", [g.conv("x", "a", (8, 16))], "y", kernel_shape=[2, 2], strides=[2, 2])
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0", "AveragePool"]
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_a_pool_between_quantized_tensors_works_on_bytes() -> None:
    g = QuantizedGraph()
    g.qconv(g.bytes_of("x", 0.02, 128), "a", (8, 16))
    g.op("AveragePool", ["a.dq"], "p", kernel_shape=[2, 2], strides=[2, 2])
    g.qconv(g.bytes_of("p"), "y", (16, 8), quantized=False)
    _, built, plan = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert len(plan.regions) == 1
    (program,) = (text(program_of(node)) for node in built.graph.node if is_region(node))
    steps = [line.split(" ")[2] for line in program.splitlines() if line.startswith("t")]
    assert steps == ["load", "quantize", "qconv", "qaveragepool", "qconv"]
    assert_programs(built, {"x": np.abs(noise(1, 8, 12, 12))}, slack=0.06)
