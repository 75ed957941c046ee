"""Regions grown in small graphs: what is fused, where they end, and that nothing changes in a stock runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.regions.analysis.infer_shapes import infer
from lth_deploy.compiler.regions.operators import SHAPE_RULES
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of

X = ("n", "c", "h", "w")


def _lines(model: ModelProto, number: int = 0) -> list[str]:
    node = [node for node in model.graph.node if is_region(node)][number]
    return text(program_of(node)).splitlines()


def _steps(model: ModelProto, number: int = 0) -> list[str]:
    return [line.split(" ")[2] for line in _lines(model, number) if line.startswith("t")]


def _residual(opset: int = 18) -> Graph:
    """A block whose shortcut is a convolution, and one whose shortcut is its input."""
    g = Graph(opset)
    g.op("Relu", [g.conv("x", "a", (8, 32), stride=2)], "b")
    g.conv("b", "c", (32, 32))
    g.conv("x", "d", (8, 32), kernel=1, stride=2)
    g.op("Relu", [g.op("Add", ["c", "d"], "e")], "f")
    g.op("Relu", [g.conv("f", "g", (32, 32))], "h")
    g.op("Add", [g.conv("h", "i", (32, 32)), "f"], "j")
    g.op("Relu", ["j"], "y")
    return g


@pytest.mark.parametrize("opset", [13, 18, 22])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_residual_blocks_become_four_fused_convolutions(opset: int, values: str) -> None:
    model = _residual(opset).model({"x": X}, ["y"])
    packed, built, plan = regions_of(model, values)
    assert [len(region.nodes) for region in plan.regions] == [5]
    assert _steps(built) == ["load", *["conv"] * 5]
    assert _lines(built)[-1] == "output t5"
    adds = [line for line in _lines(built) if "add=" in line]
    # The shortcut is made first, although it stands behind the convolution that takes it in.
    assert len(adds) == 2
    assert all(line.endswith("act=relu") for line in adds)
    for shape in ((1, 8, 17, 12), (2, 8, 16, 16)):
        assert_same(packed, built, {"x": noise(*shape)})


def test_readers_see_the_same_weights_with_and_without_regions() -> None:
    model = _residual().model({"x": X}, ["y"])
    packed, built, _ = regions_of(model)
    facts = [{(w.name, w.zeros, w.nodes, w.stored.coding) for w in weight_layers(one)} for one in (packed, built)]
    assert facts[0] == facts[1]
    dense, again = unpack_model(packed), unpack_model(built)
    tensors = [{t.name: t.SerializeToString() for t in one.graph.initializer} for one in (dense, again)]
    assert tensors[0] == tensors[1]
    assert not again.functions
    assert built.ByteSize() < 1.2 * packed.ByteSize()


def test_building_regions_leaves_the_model_alone_and_is_deterministic() -> None:
    model = _residual().model({"x": X}, ["y"])
    packed, built, _ = regions_of(model)
    assert to_bytes(regions_of(model)[1]) == to_bytes(built)
    assert not any(is_region(node) for node in packed.graph.node)


def _pyramid(g: Graph) -> list[str]:
    """As torchvision exports it: sizes of the finer map through Shape, Gather, Concat and Cast."""
    outs = []
    g.op("Relu", [g.conv("x", "c2", (8, 16))], "r2")
    g.op("Relu", [g.conv("r2", "c3", (16, 32), stride=2)], "r3")
    g.op("Relu", [g.conv("r3", "c4", (32, 32), stride=2)], "r4")
    g.conv("r4", "inner4", (32, 16), kernel=1)
    above = "inner4"
    for level, channels in ((3, 32), (2, 16)):
        lateral = g.conv(f"r{level}", f"inner{level}", (channels, 16), kernel=1)
        sides = []
        for axis in (2, 3):
            shape = g.op("Shape", [lateral], f"shape{level}{axis}")
            side = g.op("Gather", [shape, g.constant(f"i{level}{axis}", axis)], f"side{level}{axis}", axis=0)
            sides.append(g.op("Unsqueeze", [side, g.constant(f"z{level}{axis}", [0])], f"u{level}{axis}"))
        tail = g.op("Cast", [g.op("Concat", sides, f"hw{level}", axis=0)], f"hwi{level}", to=7)
        start, stop, axes = (g.constant(f"{key}{level}", [n]) for key, n in (("from", 0), ("to", 2), ("axes", 0)))
        head = g.op("Slice", [g.op("Shape", [above], f"all{level}"), start, stop, axes], f"nc{level}")
        sizes = g.op("Concat", [head, tail], f"sizes{level}", axis=0)
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        up = g.op("Resize", [above, "", "", sizes], f"up{level}", **how)
        above = g.op("Add", [lateral, up], f"sum{level}")
        outs.append(g.conv(above, f"p{level}", (16, 16)))
    return outs


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("shape", [(1, 8, 21, 30), (2, 8, 16, 9)])
def test_a_pyramid_of_odd_sizes_is_one_region(opset: int, shape: tuple[int, ...]) -> None:
    g = Graph(opset)
    packed, built, plan = regions_of(g.model({"x": X}, _pyramid(g)))
    assert len(plan.regions) == 1
    assert _steps(built).count("resize") == 2
    # The arithmetic of sizes is gone from the main graph.
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    assert_same(packed, built, {"x": noise(*shape)})


def test_shapes_of_tensors_that_stay_inside_come_from_an_output() -> None:
    g = Graph()
    outputs = _pyramid(g)
    g.conv("p3", "head", (16, 8))
    g.op("Cast", [g.op("Shape", ["p3"], "asked")], "asked_float", to=1)
    model = g.model({"x": X}, [outputs[1], "head", "asked_float"])
    model.graph.output[2].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("o", 1, [4]).type.tensor_type.shape
    )
    packed, built, plan = regions_of(model)
    assert plan.regions[0].outputs == 2
    assert_same(packed, built, {"x": noise(1, 8, 13, 22)})


def test_heads_shared_by_levels_hold_their_weights_once() -> None:
    g = Graph()
    finest = g.conv("x", "stem", (8, 16))
    coarse = g.conv(finest, "down", (16, 16), stride=2)
    ends = []
    for level, x in enumerate((finest, coarse)):
        for depth in range(3):
            g.conv(x, f"h{level}{depth}", (16, 16), weight=f"tower{depth}")
            x = g.op("Relu", [f"h{level}{depth}"], f"r{level}{depth}")
        ends.append(x)
    packed, built, plan = regions_of(g.model({"x": X}, ends))
    assert len(plan.regions) == 1
    assert sum(line.startswith("weight") for line in _lines(built)) == 2 * 5
    assert_same(packed, built, {"x": noise(1, 8, 9, 14)})


def test_layers_cut_off_by_a_norm_are_joined_by_their_weight() -> None:
    g = Graph()
    g.tensors |= {"scale": np.ones(16, np.float32), "shift": np.zeros(16, np.float32)}
    for name in ("x", "z"):
        g.op(
            "InstanceNormalization", [g.conv(name, f"{name}1", (16, 16), weight="first"), "scale", "shift"], f"{name}n"
        )
        g.conv(f"{name}n", f"{name}2", (16, 16), weight="second")
    model = g.model({"x": (1, 16, "h", "w"), "z": (1, 16, "k", "l")}, ["x2", "z2"])
    packed, built, plan = regions_of(model)
    assert [region.nodes for region in plan.regions] == [("x1", "z1"), ("x2", "z2")]
    assert_same(packed, built, {"x": noise(1, 16, 9, 8), "z": noise(1, 16, 5, 6)})


def test_concat_slice_split_and_leaky() -> None:
    g = Graph()
    a = g.op("LeakyRelu", [g.conv("x", "a", (8, 16))], "la", alpha=0.1)
    b = g.op("LeakyRelu", [g.conv(a, "b", (16, 16))], "lb", alpha=0.1)
    joined = g.op("Concat", [b, a], "joined", axis=1)
    first, last, axis = (g.constant(key, [n]) for key, n in (("first", 8), ("last", 10**9), ("axis", 1)))
    cut = g.op("Slice", [joined, first, last, axis], "cut")
    g.conv(cut, "d", (24, 16), kernel=1)
    g.op("Split", ["d", g.constant("sizes", [10, 6])], ["left", "right"], axis=1)
    g.op("Sigmoid", ["left"], "probability")
    packed, built, plan = regions_of(g.model({"x": X}, ["probability", "right"]))
    assert len(plan.regions) == 1
    assert _steps(built) == ["load", "conv", "conv", "concat", "slice", "conv", "slice", "slice", "act"]
    assert "leaky:0.1" in _lines(built)[10]
    assert_same(packed, built, {"x": noise(1, 8, 13, 7)})


@pytest.mark.parametrize("kind", ["silu", "hardswish", "hardsigmoid", "relu6", "clip_below"])
def test_activations_are_fused(kind: str) -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    if kind == "silu":
        g.op("Mul", ["a", g.op("Sigmoid", ["a"], "gate")], "b")
    elif kind == "hardswish":
        g.op("HardSwish", ["a"], "b")
    elif kind == "hardsigmoid":
        g.op("Mul", [g.op("HardSigmoid", ["a"], "gate", alpha=1 / 6, beta=0.5), "a"], "b")
    elif kind == "relu6":
        g.op("Clip", ["a", g.constant("low", 0, np.float32), g.constant("high", 6, np.float32)], "b")
    else:
        g.op("Clip", ["a", g.constant("low", -0.5, np.float32)], "b")
    g.conv("b", "y", (16, 16))
    packed, built, _ = regions_of(g.model({"x": X}, ["y"]))
    assert _steps(built) == ["load", "conv", "conv"]
    assert_same(packed, built, {"x": noise(1, 8, 9, 9)})


def test_a_low_padding_is_part_of_the_pool() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.op("Pad", ["a", g.constant("pads", [0, 0, 0, 0, 0, 0, 1, 1]), g.constant("low", -3e38, np.float32)], "b")
    g.op("MaxPool", ["b"], "c", kernel_shape=[3, 3], strides=[2, 2])
    g.conv("c", "y", (16, 16))
    packed, built, _ = regions_of(g.model({"x": X}, ["y"]))
    assert "pads=0,0,1,1" in _lines(built)[-3]
    assert_same(packed, built, {"x": noise(1, 8, 12, 15)})


def test_rows_of_a_box_head() -> None:
    g = Graph()
    for name, outputs, inputs in (("fc6", 64, 128), ("fc7", 64, 64), ("score", 4, 64), ("box", 16, 64)):
        g.weight(f"{name}.weight", (outputs, inputs), 0.6 if outputs < 64 else 0.85)
        g.weight(f"{name}.bias", (outputs,), 0.0)
    g.op("Relu", [g.op("Gemm", ["x", "fc6.weight", "fc6.bias"], "a", transB=1)], "b")
    g.op("Relu", [g.op("Gemm", ["b", "fc7.weight", "fc7.bias"], "c", transB=1)], "d")
    g.op("Flatten", ["d"], "e", axis=1)
    g.op("Gemm", ["e", "score.weight", "score.bias"], "scores", transB=1)
    g.op("Gemm", ["e", "box.weight", "box.bias"], "boxes", transB=1)
    packed, built, plan = regions_of(g.model({"x": ("n", 128)}, ["scores", "boxes"], rank=2))
    assert [region.outputs for region in plan.regions] == [2]
    assert _lines(built)[-1].endswith(" rows")
    assert_same(packed, built, {"x": noise(37, 128)})


def test_a_transposed_convolution_of_its_own_stride() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.op("ConvTranspose", ["a", g.weight("up", (16, 8, 2, 2))], "b", strides=[2, 2])
    g.op("Relu", ["b"], "c")
    g.conv("c", "y", (8, 8))
    packed, built, _ = regions_of(g.model({"x": X}, ["y"]))
    assert _steps(built) == ["load", "conv", "convtranspose", "conv"]
    assert_same(packed, built, {"x": noise(1, 8, 7, 6)})


@pytest.mark.parametrize(
    "form",
    [{"strides": [1, 1]}, {"strides": [2, 2], "output_padding": [1, 1]}, {"strides": [2, 2], "pads": [0, 0, 1, 1]}],
)
def test_other_transposed_convolutions_stay_outside_whatever_reads_them(form: dict[str, list[int]]) -> None:
    """What a layer behind says of the rank of its input says nothing of how that is made."""
    g = Graph()
    g.conv("x", "a", (8, 16))
    g.op("ConvTranspose", ["a", g.weight("up", (16, 8, 2, 2))], "b", **form)
    g.conv("b", "y", (8, 8))
    packed, built, plan = regions_of(g.model({"x": X}, ["y"]))
    assert "stride is not its kernel, or with pads" in plan.outside["up"]
    assert_same(packed, built, {"x": noise(1, 8, 7, 6)})


def test_what_cannot_go_inside_cuts_and_nothing_comes_back() -> None:
    """The trap: a sum of the inside with what went through a node outside must be a second region."""
    g = Graph()
    g.op("Relu", [g.conv("x", "a", (8, 16))], "b")
    g.op("Softplus", ["b"], "out_there")
    g.conv("b", "c", (16, 16))
    g.conv("out_there", "d", (16, 16))
    g.op("Add", ["c", "d"], "e")
    g.conv("e", "y", (16, 16))
    packed, built, plan = regions_of(g.model({"x": X}, ["y"]))
    assert len(plan.regions) == 2
    assert_same(packed, built, {"x": noise(1, 8, 9, 9)})


def test_two_regions_share_an_array_with_each_other_and_with_a_layer_outside() -> None:
    g = Graph()
    g.conv("x", "a", (16, 16), weight="w")
    g.op("Softplus", ["a"], "b")
    g.conv("b", "c", (16, 16), weight="w")
    g.op("Conv", ["c", "w"], "y", auto_pad="SAME_UPPER")
    packed, built, plan = regions_of(g.model({"x": (1, 16, "h", "w_")}, ["y"]))
    assert len(plan.regions) == 2
    assert [tensor.name for tensor in built.graph.initializer].count("w.values") <= 1
    assert built.ByteSize() < packed.ByteSize() + 4000
    assert {(layer.name, layer.uses) for layer in weight_layers(built)} == {("w", 3)}
    assert_same(packed, built, {"x": noise(1, 16, 9, 9)})
    assert "auto_pad" in plan.outside["w"]


def _declined(change: str) -> Graph:
    g = Graph()
    g.conv("x", "a", (8, 16), zeros=0.2 if change == "zeros" else 0.85)
    match change:
        case "depthwise":
            g.nodes.clear()
            g.op("Conv", ["x", g.weight("a.weight", (16, 1, 3, 3))], "a", group=16)
        case "auto_pad":
            g.nodes.clear()
            g.op("Conv", ["x", "a.weight"], "a", auto_pad="SAME_UPPER")
        case "kernel":
            g.nodes.clear()
            g.op("Conv", ["x", g.weight("a.weight", (16, 8, 17, 1))], "a", pads=[8, 0, 8, 0])
        case "computed":
            g.nodes.clear()
            g.tensors["base"] = g.tensors.pop("a.weight")
            mean = g.op("ReduceMean", ["x"], "mean", keepdims=0)
            g.op("Conv", ["x", g.op("Mul", ["base", mean], "a.weight")], "a")
    return g


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("zeros", "zeros: dense kernels"),
        ("depthwise", "multiply zeros too"),
        ("auto_pad", "auto_pad"),
        ("kernel", "beyond the kernels"),
        ("computed", "computed, not stored"),
    ],
)
def test_what_is_left_alone_has_a_reason(change: str, reason: str) -> None:
    model = _declined(change).model({"x": X}, ["a"])
    packed, built, plan = regions_of(model)
    assert not plan.regions
    assert to_bytes(built) == to_bytes(packed)
    assert reason in next(iter(plan.outside.values()))


def test_a_dense_layer_stays_in_the_middle_and_out_at_the_ends() -> None:
    g = Graph()
    for number, zeros in enumerate((0.0, 0.85, 0.0, 0.85, 0.0)):
        before = f"r{number - 1}" if number else "x"
        g.op("Relu", [g.conv(before, f"c{number}", (16, 16), zeros=zeros)], f"r{number}")
    packed, built, plan = regions_of(g.model({"x": (1, 16, "h", "w")}, ["r4"]))
    assert [region.nodes for region in plan.regions] == [("c1", "c2", "c3")]
    assert set(plan.outside) == {"c0.weight", "c4.weight"}
    assert_same(packed, built, {"x": noise(1, 16, 9, 9)})


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, None),
        ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, 1.5),
        ({"mode": "cubic", "coordinate_transformation_mode": "half_pixel"}, None),
        ({"mode": "nearest", "coordinate_transformation_mode": "align_corners"}, None),
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}, None),
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1.5),
    ],
)
def test_other_resizes_stay_outside(attributes: dict[str, str], size: float | None) -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    small = g.conv("a", "b", (16, 16), stride=2)
    up = g.op("Resize", [small, "", g.constant("scales", [1, 1, size or 2, size or 2], np.float32)], "c", **attributes)
    g.conv(up, "y", (16, 16))
    packed, built, plan = regions_of(g.model({"x": X}, ["a", "y"]))
    assert len(plan.regions) == 2
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_levels_of_open_sizes_that_differ_by_rounding_are_compared_when_it_runs() -> None:
    g = Graph()
    g.conv("x", "a", (8, 16))
    small = g.conv("a", "b", (16, 16), stride=2)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    up = g.op("Resize", [small, "", g.constant("scales", [1, 1, 2, 2], np.float32)], "up", **how)
    g.conv(g.op("Add", ["a", up], "sum"), "y", (16, 16))
    packed, built, plan = regions_of(g.model({"x": X}, ["y"]))
    assert len(plan.regions) == 1
    assert _steps(built).count("upsample") == 1
    assert _lines(built)[0] == "lth_region 6"
    assert_same(packed, built, {"x": noise(1, 8, 12, 18)})
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(ops_library()))
    kernels = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    stock = onnxruntime.InferenceSession(packed.SerializeToString(), providers=["CPUExecutionProvider"])
    for runtime in (kernels, stock):
        with pytest.raises(Exception, match=r"region: t\d|Attempting to broadcast|incompatible"):
            runtime.run(None, {"x": noise(1, 8, 13, 18)})
    even = {"x": noise(1, 8, 14, 6)}
    np.testing.assert_allclose(kernels.run(None, even)[0], stock.run(None, even)[0], rtol=1e-4, atol=1e-4)
    # A stock runtime repeats the only row; the region says that its planes differ.
    with pytest.raises(Exception, match=r"region: t\d"):
        kernels.run(None, {"x": noise(1, 8, 1, 18)})


def test_sizes_that_differ_by_more_than_rounding_are_not_supposed_to_be_equal() -> None:
    g = Graph()
    g.op("Add", [g.conv("x", "a", (8, 16)), g.conv("z", "b", (8, 16))], "sum")
    g.conv("sum", "y", (16, 16))
    _, _, plan = regions_of(g.model({"x": X, "z": ("n", 8, "height", "width")}, ["y"]))
    assert len(plan.regions) > 1


@pytest.mark.parametrize("how", ["asymmetric", "half_pixel"])
def test_a_doubling_needs_a_tensor_of_that_plane(how: str) -> None:
    rounding = "floor" if how == "asymmetric" else "round_prefer_floor"
    attributes = {"mode": "nearest", "coordinate_transformation_mode": how, "nearest_mode": rounding}
    for padded in (True, False):
        g = Graph()
        g.conv("x", "a", (8, 16))
        small = g.conv("a", "b", (16, 16), stride=2)
        up = g.op("Resize", [small, "", g.constant("scales", [1, 1, 2, 2], np.float32)], "c", **attributes)
        g.conv(up, "y", (16, 16))
        # Only of even sizes is known that halving and doubling comes back.
        sides = (12, 10) if padded else ("h", "w")
        packed, built, plan = regions_of(g.model({"x": (1, 8, *sides)}, ["a", "y"]))
        assert len(plan.regions) == (1 if padded else 2)
        assert_same(packed, built, {"x": noise(1, 8, 12, 10)})


def test_a_concat_says_that_a_doubled_plane_is_the_one_that_was_halved() -> None:
    """With open sizes: the graph fails on those of which this is not so."""
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    g = Graph()
    g.conv("x", "a", (8, 16), stride=2)
    g.conv("a", "b", (16, 16), stride=2)
    g.conv("b", "c", (16, 16), stride=2)
    scales = g.constant("scales", [1, 1, 2, 2], np.float32)
    middle = g.op("Concat", [g.op("Resize", ["c", "", scales], "c2", **how), "b"], "middle", axis=1)
    g.conv(middle, "d", (32, 16))
    # The plane of the first Concat is known by its second input, and so is that of the second one.
    fine = g.op("Concat", [g.op("Resize", ["d", "", scales], "d2", **how), "a"], "fine", axis=1)
    g.conv(fine, "y", (32, 8))
    packed, built, plan = regions_of(g.model({"x": (1, 8, "h", "w")}, ["y"]))
    assert len(plan.regions) == 1
    for sides in ((16, 24), (40, 8)):
        assert_same(packed, built, {"x": noise(1, 8, *sides)})


def test_a_concat_of_planes_that_differ_says_nothing() -> None:
    g = Graph()
    g.op("Concat", [g.conv("x", "a", (8, 16)), g.conv("z", "b", (8, 16))], "c", axis=1)
    shapes = {"x": (1, 8, 12, 12), "z": (1, 8, 12, 10)}
    info = infer(g.model(shapes, ["c"]).graph, {}, SHAPE_RULES)
    assert not info.equal


@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_bilinear_steps_between_levels_are_in_their_region(how: str, factor: float) -> None:
    g = Graph()
    large, small = g.conv("x", "a", (8, 16)), g.conv("x", "b", (8, 16), stride=2)
    before, level = (small, large) if factor > 1 else (large, small)
    scales = g.constant("scales", [1, 1, factor, factor], np.float32)
    moved = g.op("Resize", [before, "", scales], "c", mode="linear", coordinate_transformation_mode=how)
    g.conv(g.op("Add", [moved, level], "sum"), "y", (16, 16))
    packed, built, plan = regions_of(g.model({"x": (1, 8, 24, 20)}, ["y"]))
    one_pixel = how == "pytorch_half_pixel" and factor < 1
    assert (len(plan.regions) == 1) == (not one_pixel)
    assert_same(packed, built, {"x": noise(1, 8, 24, 20)})


def test_scales_that_are_no_ratio_of_the_sizes_stay_outside() -> None:
    """A runtime steps by the scale that it is given, also where 4 * 2.1 is rounded down to 8."""
    g = Graph()
    large, small = g.conv("x", "a", (8, 16)), g.conv("x", "b", (8, 16), stride=2)
    scales = g.constant("scales", [1, 1, 2.1, 2.1], np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    up = g.op("Resize", [small, "", scales], "c", **how)
    g.conv(g.op("Add", [up, large], "sum"), "y", (16, 16))
    packed, built, plan = regions_of(g.model({"x": (1, 8, 8, 8)}, ["y"]))
    assert len(plan.regions) > 1
    assert_same(packed, built, {"x": noise(1, 8, 8, 8)})
