"""Regions of QDQ graphs: what they hold, that a stock runtime still quantizes them, and that programs compute them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.load import Load
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import assert_programs, assert_same, noise, optimized, regions_of

INPUT = {"x": ["n", 16, "h", "w"]}


def steps_of(built: ModelProto, number: int = 0) -> list[str]:
    nodes = [node for node in built.graph.node if node.op_type.startswith("Region")]
    return [type(step).__name__ for step in program_of(nodes[number]).instructions]


def test_a_chain_is_one_region_and_equals_the_stock_runtime(tmp_path: Path) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 32), scale=0.02, zero=0)
    b = g.qconv(a, "b", (32, 32), scale=0.05, zero=128)
    c = g.qconv(b, "c", (32, 8), 1, scale=0.04, zero=90)
    model = g.model(INPUT, [c])
    packed, built, plan = regions_of(model, least=0.3)
    assert steps_of(built) == ["Load", "Quantize", "QConv", "QConv", "QConv", "Dequantize"]
    assert [region.weights for region in plan.regions] == [("a.weight", "b.weight", "c.weight")]
    assert {node.op_type for node in built.graph.node} == {"Region0"}
    assert_same(packed, built, {"x": noise(2, 16, 9, 11)})
    assert optimized(built, tmp_path)["QLinearConv"] == optimized(model, tmp_path)["QLinearConv"] == 3


def test_bytes_are_pooled_resized_joined_and_cut() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 32), scale=0.02, zero=7)
    g.op("MaxPool", [a], "p", kernel_shape=[2, 2], strides=[2, 2])
    p = g.bytes_of("p", 0.02, 7)
    b = g.qconv(p, "b", (32, 16), scale=0.05, zero=128)
    g.constant("none", [], np.float32)
    g.constant("scales", [1, 1, 2, 2], np.float32)
    g.op(
        "Resize", [b, "none", "scales"], "r", mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    r = g.bytes_of("r", 0.05, 128)
    g.op("Concat", [r, a], "j", axis=1)
    j = g.bytes_of("j", 0.06, 110)
    for name, value in (("from", 8), ("to", 40), ("axis", 1)):
        g.constant(name, [value])
    g.op("Slice", [j, "from", "to", "axis"], "s")
    s = g.bytes_of("s", 0.06, 110)
    c = g.qconv(s, "c", (32, 8), scale=0.04, zero=90)
    packed, built, _ = regions_of(g.model({"x": [1, 16, 8, 12]}, [c]), least=0.3)
    counts = Counter(steps_of(built))
    assert all(counts[name] == 1 for name in ("Load", "Quantize", "MaxPool", "Resize", "Concat", "Slice", "Dequantize"))
    assert counts["Requantize"] == 2, "both parts of the concat get its scale"
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_bilinear_means_of_bytes_are_taken_of_floats() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 32), scale=0.02, zero=7)
    g.constant("none", [], np.float32)
    g.constant("scales", [1, 1, 0.5, 0.5], np.float32)
    g.op("MaxPool", [a], "p", kernel_shape=[2, 2], strides=[2, 2])
    c = g.qconv(g.bytes_of("p", 0.02, 7), "c", (32, 8), scale=0.04, zero=90)
    g.op("Resize", [a, "none", "scales"], "r", mode="linear", coordinate_transformation_mode="half_pixel")
    b = g.qconv(g.bytes_of("r", 0.02, 7), "b", (32, 8), scale=0.04, zero=90)
    packed, built, _ = regions_of(g.model({"x": [1, 16, 8, 12]}, [b, c]), least=0.3)
    steps = steps_of(built)
    assert steps.count("Resize") == 1
    assert "Dequantize" in steps[: steps.index("Resize")]
    assert "Quantize" in steps[steps.index("Resize") :]
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


@pytest.mark.parametrize(("zero", "fused"), [(120, True), (0, False)])
def test_an_addition_is_fused_unless_the_bytes_before_it_may_be_those_of_a_relu(zero: int, fused: bool) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.02, zero=0)
    b = g.qconv(a, "b", (16, 16), scale=0.05, zero=zero)
    g.op("Add", [b, a], "sum")
    total = g.bytes_of("sum", 0.05, 60)
    packed, built, _ = regions_of(g.model(INPUT, [total]), least=0.3)
    steps = steps_of(built)
    assert (steps.count("QAdd"), steps.count("QConv")) == ((0, 2) if fused else (1, 2))
    feeds = {"x": noise(1, 16, 9, 11)}
    if not fused:
        assert_same(packed, built, feeds)
        return
    assert_programs(built, feeds, slack=0.05 * 1.001)  # the function rounds twice: one step


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu", "HardSwish"])
def test_activations_between_a_layer_and_its_bytes_are_taken_in(operator: str) -> None:
    g = QuantizedGraph()
    x = g.bytes_of("x")
    g.op("Conv", [x, g.qweight("w", (16, 16, 3, 3)), g.qbias("b", x, "w")], "a", pads=[1] * 4)
    g.op(operator, ["a"], "act")
    out = g.bytes_of("act", 0.02, 40)
    _, built, _ = regions_of(g.model(INPUT, [out]), least=0.3)
    (conv,) = [step for step in program_of(built.graph.node[0]).instructions if isinstance(step, QConv)]
    assert conv.act.kind == {"Relu": "relu", "LeakyRelu": "leaky", "HardSwish": "hardswish"}[operator]
    assert_programs(built, {"x": noise(1, 16, 9, 11)}, slack=0.02 * 1.001)


def test_an_activation_between_bytes_is_taken_into_the_layer_before() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    g.op("LeakyRelu", [a], "l", alpha=0.1)
    out = g.bytes_of("l", 0.02, 40)
    _, built, _ = regions_of(g.model(INPUT, [out]), least=0.3)
    assert steps_of(built) == ["Load", "Quantize", "QConv", "Dequantize"]
    assert_programs(built, {"x": noise(1, 16, 9, 11)}, slack=0.04)


def test_a_layer_whose_output_stays_float_makes_floats() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), zero=128)
    b = g.qconv(a, "b", (16, 8), quantized=False)
    packed, built, _ = regions_of(g.model(INPUT, [b]), least=0.3)
    last = program_of(built.graph.node[0]).instructions[-1]
    assert isinstance(last, QConv)
    assert last.out is None
    assert_same(packed, built, {"x": noise(1, 16, 9, 11)})


def test_floats_and_bytes_live_in_one_region() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), zero=128)
    g.conv(a, "f", (16, 16))
    b = g.qconv(g.bytes_of("f", 0.02, 128), "b", (16, 8), zero=90)
    _, built, plan = regions_of(g.model(INPUT, [b]), least=0.3, values="fp32")
    assert len(plan.regions) == 1
    assert steps_of(built) == ["Load", "Quantize", "QConv", "Dequantize", "Conv", "Quantize", "QConv", "Dequantize"]
    assert_programs(built, {"x": noise(1, 16, 9, 11)}, slack=0.03 * 1.001)


def test_bytes_never_cross_a_border() -> None:
    """A layer that stays outside, and an addition of what goes around it: both get floats and make floats."""
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.02, zero=0)
    d = g.qconv(a, "d", (16, 16), group=16, scale=0.04, zero=100)
    g.tensors["d.weight.zero"] = np.full(16, 3, np.int8)
    b = g.qconv(d, "b", (16, 16), scale=0.05, zero=100)
    g.op("Add", [b, a], "sum")
    c = g.qconv(g.bytes_of("sum", 0.05, 60), "c", (16, 8), zero=90)
    _, built, plan = regions_of(g.model(INPUT, [c]), least=0.3)
    assert [region.nodes for region in plan.regions] == [("a",), ("b",), ("c",)]
    assert "a zero point other than zero" in plan.outside["d.weight"]
    for node in built.graph.node:
        if node.op_type.startswith("Region"):
            program = program_of(node)
            assert isinstance(program.instructions[0], Load)
    feeds = {"x": noise(1, 16, 9, 11)}
    assert_programs(built, feeds, slack=0.05 * 1.001)


def per_tensor(g: QuantizedGraph) -> None:
    g.constant("a.weight.scale", 0.001, np.float32)
    g.constant("a.weight.zero", 0, np.int8)
    g.tensors["a.bias.scale"] = np.full(16, np.float32(0.03) * np.float32(0.001))


def asymmetric(g: QuantizedGraph) -> None:
    g.tensors["a.weight.zero"] = np.full(16, 3, np.int8)


def least(g: QuantizedGraph) -> None:
    g.tensors["a.weight"][0, 0, 0, 0] = -128


def other_bias(g: QuantizedGraph) -> None:
    g.tensors["a.bias.scale"] = g.tensors["a.bias.scale"] * np.float32(1.01)


def no_scale(g: QuantizedGraph) -> None:
    g.tensors["a.weight.scale"][3] = 0


def unsigned(g: QuantizedGraph) -> None:
    g.tensors["a.weight"] = (g.tensors["a.weight"].astype(np.int16) + 128).astype(np.uint8)
    g.tensors["a.weight.zero"] = np.full(16, 128, np.uint8)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (per_tensor, "one scale for all outputs"),
        (asymmetric, "zero point other than zero"),
        (least, "-128"),
        (other_bias, "units of the scales"),
        (no_scale, "scale 3 is 0"),
        (unsigned, "uint8"),
    ],
)
def test_what_kernels_do_not_compute_stays_dense_with_a_reason(fault: object, reason: str) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), zero=128)
    b = g.qconv(a, "b", (16, 16), zero=128)
    fault(g)  # type: ignore[operator]
    packed, built, plan = regions_of(g.model(INPUT, [b]), least=0.3)
    assert reason in plan.outside["a.weight"]
    assert plan.regions[0].weights == ("b.weight",)
    assert_same(packed, built, {"x": noise(1, 16, 9, 11)})


def test_activations_of_int8_stay_dense_with_a_reason() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x", zero=0, dtype=np.int8), "a", (16, 16), zero=0, dtype=np.int8)
    packed, built, plan = regions_of(g.model(INPUT, [a]), least=0.3)
    assert not plan.regions
    assert plan.outside["a.weight"]
    assert np.array_equal(packed.SerializeToString(), built.SerializeToString())


def test_rows_are_quantized_too(tmp_path: Path) -> None:
    g = QuantizedGraph()
    x = g.bytes_of("x")
    g.op("Gemm", [x, g.qweight("w", (32, 16)), g.qbias("b", x, "w")], "a", transB=1)
    y = g.bytes_of("a", 0.05, 100)
    packed, built, _ = regions_of(g.model({"x": ["n", 16]}, [y], rank=2), least=0.3)
    assert steps_of(built) == ["Load", "Quantize", "QConv", "Dequantize"]
    assert_same(packed, built, {"x": noise(5, 16)})
    assert "QGemm" in optimized(built, tmp_path), "without the kernels, bytes are multiplied too"


def test_rows_that_a_runtime_multiplies_as_floats_stay_dense(tmp_path: Path) -> None:
    g = QuantizedGraph()
    x = g.bytes_of("x")
    weight = g.qweight("w", (32, 16))
    del g.nodes[-1].input[2]
    g.op("Gemm", [x, weight, g.qbias("b", x, "w")], "a", transB=1)
    packed, _, plan = regions_of(g.model({"x": ["n", 16]}, [g.bytes_of("a", 0.05, 100)], rank=2), least=0.3)
    assert "no zero point" in plan.outside["w"]
    assert "QGemm" not in optimized(packed, tmp_path)


@pytest.mark.parametrize("zeros", [(0.0, 0.9, 0.0), (0.0, 0.9, 0.9), (0.9, 0.9, 0.0)])
@pytest.mark.parametrize("relu", [False, True])
def test_layers_beside_a_region_stay_between_bytes(
    zeros: tuple[float, float, float], relu: bool, tmp_path: Path
) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 64), scale=0.02, zero=0, zeros=zeros[0], quantized=not relu)
    if relu:
        a = g.bytes_of(g.op("Relu", ["a"], "r"), 0.02, 0)
    b = g.qconv(a, "b", (64, 64), scale=0.05, zero=128, zeros=zeros[1])
    c = g.qconv(b, "c", (64, 64), scale=0.04, zero=90, zeros=zeros[2])
    model = g.model(INPUT, [c])
    packed, built, plan = regions_of(model, least=0.3)
    outside = [node for node in built.graph.node if node.op_type == "Conv"]
    assert len(outside) == zeros.count(0.0) == len(plan.outside)
    makers = {name: node.op_type for node in built.graph.node for name in node.output}
    for node in outside:
        assert makers[node.input[0]] == "DequantizeLinear"
        (reader,) = (other for other in built.graph.node if node.output[0] in other.input)
        if reader.op_type == "Relu":
            (reader,) = (other for other in built.graph.node if reader.output[0] in other.input)
        assert reader.op_type == "QuantizeLinear"
    assert_same(packed, built, {"x": noise(2, 16, 9, 11)})
    assert_programs(built, {"x": noise(2, 16, 9, 11)})
    assert optimized(built, tmp_path)["QLinearConv"] == 3


def test_a_float_layer_beside_a_region_of_bytes_gets_no_conversions() -> None:
    g = QuantizedGraph()
    b = g.qconv(g.bytes_of("x"), "b", (16, 64), scale=0.05, zero=128, zeros=0.9)
    g.conv(b, "c", (64, 64), zeros=0.0)
    _, built, _ = regions_of(g.model(INPUT, ["c"]), least=0.3)
    kinds = Counter(node.op_type for node in built.graph.node)
    assert kinds["Conv"] == kinds["Region0"] == 1
    assert not kinds["QuantizeLinear"]
