"""A pool over an image with zeros around it, as the stems of HGNetV2 have it: Pad and MaxPool are one instruction."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of


def padded(value: float = 0.0, sides: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 1, 1), **attributes: object) -> Graph:
    g = Graph(17)
    p, v = g.constant("p", sides), g.constant("v", value, np.float32)
    g.op("Pad", [g.conv("x", "a", (8, 16)), p, v], "b")
    g.op("MaxPool", ["b"], "m", kernel_shape=[2, 2], **attributes)
    g.conv("m", "y", (16, 8))
    return g


def lines_of(g: Graph, size: tuple[int, int] = (16, 20)) -> list[str]:
    """The lines of pools; a stock runtime, the graph with its region and the oracle agree."""
    packed, built, _ = regions_of(g.model({"x": (2, 8, *size)}, ["y"]))
    assert_same(packed, built, {"x": noise(2, 8, *size)})
    programs = [text(program_of(node)) for node in built.graph.node if is_region(node)]
    found = [line.partition(" = ")[2] for program in programs for line in program.splitlines()]
    return [line for line in found if "pool" in line]


@pytest.mark.parametrize("attributes", [{}, {"ceil_mode": 1}, {"strides": [1, 1], "pads": [0, 0, 0, 0]}])
def test_zeros_at_the_end_are_padding_that_counts(attributes: dict[str, object]) -> None:
    assert lines_of(padded(**attributes)) == ["zeromaxpool t1 kernel=2,2 stride=1,1 pads=0,0,1,1 dilation=1,1"]


def test_zeros_on_all_sides() -> None:
    g = padded(sides=(0, 0, 1, 1, 0, 0, 1, 0), strides=[2, 2])
    assert lines_of(g) == ["zeromaxpool t1 kernel=2,2 stride=2,2 pads=1,1,1,0 dilation=1,1"]


def test_values_that_never_win_are_plain_padding() -> None:
    assert lines_of(padded(-3e38)) == ["maxpool t1 kernel=2,2 stride=1,1 pads=0,0,1,1 dilation=1,1"]


@pytest.mark.parametrize("g", [padded(0.5), padded(pads=[0, 0, 1, 1])], ids=["another value", "both pad"])
def test_other_pads_are_not_taken_in(g: Graph) -> None:
    assert not any("zeromaxpool" in line for line in lines_of(g))
