"""Channel shuffles, pads, focus stems, batch norms and pools that round up, as exporters write them."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of


def steps_of(g: Graph, size: tuple[int | str, int | str] = (12, 16), returned: str = "y") -> list[str]:
    """The instructions of the one region of a graph, which a stock runtime and the oracle compute alike."""
    packed, built, plan = regions_of(g.model({"x": ("n", 8, *size)}, [returned]))
    assert len(plan.regions) == 1
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    assert_same(packed, built, {"x": noise(2, 8, 12, 16)})
    lines = text(program_of(built.graph.node[0])).splitlines()
    return [line.partition(" = ")[2] for line in lines if " = " in line]


def shuffled(g: Graph, x: str, split: list[int], back: list[int]) -> str:
    g.op("Reshape", [x, g.constant("split", split)], "grouped")
    g.op("Transpose", ["grouped"], "moved", perm=[0, 2, 1, 3, 4])
    return g.op("Reshape", ["moved", g.constant("back", back)], "shuffled")


@pytest.mark.parametrize(
    ("split", "back"),
    [
        ([-1, 4, 4, 12, 16], [-1, 16, 12, 16]),
        ([0, 4, 4, 12, 16], [0, -1, 12, 16]),
        ([0, -1, 4, 12, 16], [0, 16, 12, -1]),
        ([0, 4, -1, 12, 16], [0, 16, -1, 16]),
    ],
)
def test_a_channel_shuffle(split: list[int], back: list[int]) -> None:
    g = Graph()
    g.conv(shuffled(g, g.conv("x", "a", (8, 16)), split, back), "y", (16, 8))
    assert steps_of(g)[2] == "shuffle t1 groups=4"


def test_a_channel_shuffle_with_sizes_that_are_computed() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.op("Shape", ["a"], "shape")
    for i in range(4):
        g.op("Gather", ["shape", g.constant(f"index{i}", [i])], f"size{i}", axis=0)
    g.op("Concat", ["size0", g.constant("two", [2]), g.constant("eight", [8]), "size2", "size3"], "split", axis=0)
    g.op("Concat", ["size0", g.constant("rest", [16]), "size2", "size3"], "back", axis=0)
    g.op("Reshape", ["a", "split"], "grouped")
    g.op("Transpose", ["grouped"], "moved", perm=[0, 2, 1, 3, 4])
    g.conv(g.op("Reshape", ["moved", "back"], "b"), "y", (16, 8))
    assert steps_of(g)[2] == "shuffle t1 groups=2"


@pytest.mark.parametrize(("split", "back"), [([0, 4, 4, 16, 12], [0, 16, 12, 16]), ([0, 4, 4, 12, 16], [0, 8, 24, 16])])
def test_what_is_no_channel_shuffle_stays_outside(split: list[int], back: list[int]) -> None:
    g = Graph()
    g.conv(shuffled(g, g.conv("x", "a", (8, 16)), split, back), "y", (back[1], 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, 12, 16)}, ["y"]))
    assert [node.op_type for node in built.graph.node].count("Reshape") == 2
    assert_same(packed, built, {"x": noise(1, 8, 12, 16)})


def test_a_pad_of_zeros_around_planes() -> None:
    g = Graph()
    g.op("Relu", [g.conv("x", "a", (8, 16))], "b")
    g.op("Pad", ["b", g.constant("pads", [0, 0, 1, 0, 0, 0, 2, 3]), g.constant("zero", 0, np.float32)], "c")
    g.op("Relu", ["c"], "d")
    g.conv("d", "y", (16, 8))
    assert steps_of(g, ("h", "w"))[2] == "pad t1 pads=1,0,2,3"


@pytest.mark.parametrize("how", ["another value", "channels", "edge"])
def test_another_pad_stays_outside(how: str) -> None:
    g = Graph()
    g.op("Relu", [g.conv("x", "a", (8, 16))], "b")
    sides = [0, 1 if how == "channels" else 0, 1, 1, 0, 0, 1, 1]
    value = g.constant("value", 2 if how == "another value" else 0, np.float32)
    inputs = ["b", g.constant("pads", sides), value]
    g.op("Pad", inputs[: 2 if how == "edge" else 3], "c", mode="edge" if how == "edge" else "constant")
    g.conv("c", "y", (17 if how == "channels" else 16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert "Pad" in [node.op_type for node in built.graph.node]
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def focus(g: Graph, *, separate: bool, order: list[tuple[int, int]]) -> str:
    parts = []
    for row, column in order:
        name = f"part{row}{column}"
        last, two = [g.constant("last", [np.iinfo(np.int64).max]), g.constant("two", [2])], [2]
        if separate:
            axes = {axis: g.constant(f"axis{axis}", [axis]) for axis in (2, 3)}
            starts = {at: g.constant(f"start{at}", [at]) for at in (0, 1)}
            rows = g.op("Slice", ["x", starts[row], last[0], axes[2], last[1]], f"{name}.rows")
            parts.append(g.op("Slice", [rows, starts[column], last[0], axes[3], last[1]], name))
        else:
            ends = g.constant("ends", [12, 16])
            start = g.constant(f"start{row}{column}", [row, column])
            parts.append(
                g.op("Slice", ["x", start, ends, g.constant("axes", [2, 3]), g.constant("twos", two * 2)], name)
            )
    return g.op("Concat", parts, "focused", axis=1)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_a_focus_stem_begins_a_region(separate: bool, order: str) -> None:
    g = Graph()
    places = [(row, column) for row in (0, 1) for column in (0, 1)]
    places = places if order == "rows" else [(row, column) for column, row in places]
    g.conv(focus(g, separate=separate, order=places), "y", (32, 8))
    assert steps_of(g)[1] == f"spacetodepth t0 block=2 order={order}"


def test_a_quantized_focus_stem_begins_a_region() -> None:
    g = QuantizedGraph()
    places = [(row, column) for column in (0, 1) for row in (0, 1)]
    y = g.qconv(g.bytes_of(focus(g, separate=True, order=places)), "y", (32, 8))
    steps = steps_of(g, returned=y)
    assert [step.partition(" ")[0] for step in steps] == ["load", "spacetodepth", "quantize", "qconv", "dequantize"]


def test_the_size_behind_a_focus_stem_is_known() -> None:
    g = Graph()
    places = [(row, column) for row in (0, 1) for column in (0, 1)]
    deep = g.conv(g.conv(focus(g, separate=True, order=places), "a", (32, 8)), "b", (8, 8), stride=2)
    g.op("Resize", [deep, "", g.constant("factors", [1, 1, 2, 2], np.float32)], "c", mode="nearest",
         coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    g.conv(g.op("Concat", ["a", "c"], "d", axis=1), "y", (16, 8))
    assert [step.split(" ")[0] for step in steps_of(g)][-3:] == ["resize", "concat", "conv"]


def test_space_to_depth() -> None:
    g = Graph()
    g.conv(g.op("SpaceToDepth", ["x"], "a", blocksize=2), "y", (32, 8))
    assert steps_of(g, ("h", "w"))[1] == "spacetodepth t0 block=2 order=rows"


def test_other_slices_are_no_focus_stem() -> None:
    g = Graph()
    g.conv(focus(g, separate=True, order=[(0, 0), (1, 1), (0, 1), (1, 0)]), "y", (32, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, 12, 16)}, ["y"]))
    assert "Slice" in [node.op_type for node in built.graph.node]
    assert_same(packed, built, {"x": noise(1, 8, 12, 16)})


def test_a_batch_norm_behind_a_sum() -> None:
    g = Graph()
    both = g.op("Add", [g.conv("x", "a", (8, 16)), g.conv("x", "b", (8, 16), 1)], "c")
    g.tensors |= {"factor": noise(16), "shift": noise(16, seed=2), "mean": noise(16, seed=3)}
    g.tensors["variance"] = np.abs(noise(16, seed=4))
    norm = g.op("BatchNormalization", [both, "factor", "shift", "mean", "variance"], "d", epsilon=1e-3)
    g.conv(g.op("Relu", [norm], "e"), "y", (16, 8))
    assert steps_of(g)[3].startswith("batchnorm t2 w")
    assert steps_of(g)[3].endswith("epsilon=0.00100000005 act=relu")


@pytest.mark.parametrize(
    ("op", "attributes", "size", "ends"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2]}, (12, 16), "pads=0,0,1,1"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, (12, 16), "pads=0,0,0,0"),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, (13, 15), "pads=0,0,1,1"),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, (12, 16), "pads=1,1,2,2"),
    ],
)
def test_a_pool_that_rounds_up_has_more_padding(
    op: str, attributes: dict[str, list[int]], size: tuple[int, int], ends: str
) -> None:
    g = Graph(19)
    g.conv(g.op(op, [g.conv("x", "a", (8, 16))], "p", ceil_mode=1, **attributes), "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, *size)}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    assert ends in text(program_of(built.graph.node[0]))
    assert_same(packed, built, {"x": noise(1, 8, *size)})


@pytest.mark.parametrize(
    ("op", "attributes", "size"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3]}, (12, 15)),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, ("h", "w")),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "count_include_pad": 1}, (13, 15)),
    ],
)
def test_where_runtimes_do_not_agree_or_sizes_are_open_it_stays_outside(
    op: str, attributes: dict[str, object], size: tuple[int | str, int | str]
) -> None:
    g = Graph(19)
    g.conv(g.op(op, [g.conv("x", "a", (8, 16))], "p", ceil_mode=1, **attributes), "y", (16, 8))
    _, built, _ = regions_of(g.model({"x": ("n", 8, *size)}, ["y"]))
    assert op in [node.op_type for node in built.graph.node]


@pytest.mark.parametrize(("size", "inside"), [(17, False), (16, True), ("w", True)])
def test_a_pool_that_takes_every_pixel_keeps_the_lines_of_its_plane(size: int | str, inside: bool) -> None:
    g = Graph()
    g.op("MaxPool", [g.conv("x", "a", (8, 16))], "p", kernel_shape=[2, 2], strides=[1, 1])
    g.conv("p", "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": (1, 8, size, size)}, ["y"]))
    assert ("MaxPool" not in [node.op_type for node in built.graph.node]) == inside
    width = 17 if size == "w" else int(size)
    assert_same(packed, built, {"x": noise(1, 8, width, width)})
