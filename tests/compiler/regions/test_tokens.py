"""Layers of transformers in regions: which nodes have instructions, and that both runtimes compute the same."""

import re

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.text import text
from lth_deploy.structures import BLOCKS
from tests.compiler.onnx_models import in_blocks
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of, run


def linear(g: Graph, x: str, output: str, features: tuple[int, int], zeros: float = 0.85) -> str:
    """A product and a bias, as exporters write them."""
    g.weight(f"{output}.weight", features, zeros)
    g.weight(f"{output}.bias", features[1:], 0.0)
    g.op("MatMul", [x, f"{output}.weight"], f"{output}.product")
    return g.op("Add", [f"{output}.product", f"{output}.bias"], output)


def feed_forward(g: Graph, x: str, output: str, features: int = 16) -> str:
    """LayerNorm(x + W2 gelu(W1 x)), with Gelu as one Erf and its neighbors."""
    linear(g, x, "inner", (features, 40))
    g.constant("root", np.sqrt(2.0), np.float32)
    g.constant("one", 1.0, np.float32)
    g.constant("half", 0.5, np.float32)
    g.op("Div", ["inner", "root"], "z")
    g.op("Erf", ["z"], "erf")
    g.op("Add", ["erf", "one"], "gate")
    g.op("Mul", ["inner", "gate"], "twice")
    g.op("Mul", ["twice", "half"], "gelu")
    linear(g, "gelu", "outer", (40, features))
    g.op("Add", ["outer", x], "sum")
    g.weight("norm.weight", (features,), 0.0)
    g.weight("norm.bias", (features,), 0.0)
    return g.op("LayerNormalization", ["sum", "norm.weight", "norm.bias"], output, axis=-1)


def norm_of_nodes(
    g: Graph, x: str, output: str, epsilon: float = 1e-5, *, axis: int = -1, square: str = "Pow", features: int = 16
) -> str:
    """LayerNormalization as torch exports it below opset 17."""
    g.weight("norm.weight", (features,), 0.0)
    g.weight("norm.bias", (features,), 0.0)
    g.constant("eps", epsilon, np.float32)
    g.constant("power", 2.0, np.float32)
    g.op("ReduceMean", [x], "mean", axes=[axis])
    g.op("Sub", [x, "mean"], "difference")
    g.op(square, ["difference", "power" if square == "Pow" else "difference"], "square")
    g.op("ReduceMean", ["square"], "variance", axes=[axis])
    g.op("Add", ["variance", "eps"], "positive")
    g.op("Sqrt", ["positive"], "deviation")
    g.op("Div", ["difference", "deviation"], "normal")
    g.op("Mul", ["normal", "norm.weight"], "scaled")
    return g.op("Add", ["scaled", "norm.bias"], output)


def normed(opset: int = 13, **how: object) -> Graph:
    g = Graph(opset)
    linear(g, "x", "inner", (16, 16))
    norm_of_nodes(g, "inner", "n", **how)
    linear(g, "n", "y", (16, 24))
    return g


@pytest.mark.parametrize("how", [{}, {"square": "Mul"}, {"axis": 2}, {"epsilon": 1e-3}])
def test_a_norm_that_is_written_out_is_one_instruction(how: dict[str, object]) -> None:
    packed, built, plan = regions_of(normed(**how).model({"x": (2, 9, 16)}, ["y"], rank=3))
    assert len(plan.regions) == 1
    assert outside(built) == []
    (line,) = [line.partition(" = ")[2] for line in the_program(built) if "layernorm" in line]
    assert re.sub(r"epsilon=\S+", "", line) == "layernorm t1 w2 w3  act=none"
    assert np.float32(line.partition("epsilon=")[2].split()[0]) == np.float32(how.get("epsilon", 1e-5))
    x = {"x": noise(2, 9, 16)}
    assert_same(packed, built, x)
    assert_kernels_agree(built, x)


@pytest.mark.parametrize("how", [{"epsilon": 0.0}, {"axis": 1}], ids=["no epsilon", "other axis"])
def test_another_norm_is_none(how: dict[str, object]) -> None:
    packed, built, _ = regions_of(normed(**how).model({"x": (2, 9, 16)}, ["y"], rank=3))
    assert "ReduceMean" in outside(built)
    assert_same(packed, built, {"x": noise(2, 9, 16)})


def test_a_norm_whose_inner_values_are_read_elsewhere_is_none() -> None:
    packed, built, _ = regions_of(normed().model({"x": (2, 9, 16)}, ["y", "deviation"], rank=3))
    assert "ReduceMean" in outside(built)
    assert_same(packed, built, {"x": noise(2, 9, 16)})


def the_program(model: ModelProto) -> list[str]:
    (node,) = [node for node in model.graph.node if is_region(node)]
    return text(program_of(node)).splitlines()


def outside(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if not is_region(node) and node.domain == ""]


def assert_kernels_agree(built: ModelProto, feeds: dict[str, np.ndarray]) -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(ops_library()))
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for a, b in zip(run(built, feeds), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [("n", 9), (2, "t"), (1, 12)])
def test_a_feed_forward_block_is_one_region(sizes: tuple[int | str, int | str]) -> None:
    g = Graph()
    feed_forward(g, "x", "y")
    packed, built, plan = regions_of(g.model({"x": (*sizes, 16)}, ["y"], rank=3))
    assert len(plan.regions) == 1
    assert outside(built) == []
    steps = [line.partition(" = ")[2] for line in the_program(built) if " = " in line]
    assert steps == [
        "loadtokens 0 channels=16",
        "matmul t0 w0 w1 act=gelu",
        "matmul t1 w2 w3 add=t0 act=none",
        "layernorm t2 w4 w5 epsilon=1e-05 act=none",
    ]
    x = {"x": noise(*(size if isinstance(size, int) else 5 for size in sizes), 16)}
    assert_same(packed, built, x)
    assert_kernels_agree(built, x)


def test_two_blocks_and_what_reads_between_them() -> None:
    g = Graph()
    feed_forward(g, "x", "y")
    linear(g, "y", "scores", (16, 7))
    g.op("Softmax", ["scores"], "p", axis=-1)
    packed, built, plan = regions_of(g.model({"x": ("n", "t", 16)}, ["p", "y"], rank=3))
    assert len(plan.regions) == 1
    assert outside(built) == ["Softmax"]
    assert_same(packed, built, {"x": noise(2, 5, 16)})


def test_a_gemm_with_its_weight_as_inputs_by_outputs() -> None:
    g = Graph()
    g.weight("w", (16, 24))
    g.weight("b", (24,), 0.0)
    g.op("Gemm", ["x", "w", "b"], "a")
    g.op("Relu", ["a"], "y")
    packed, built, _ = regions_of(g.model({"x": ("n", 16)}, ["y"], rank=2))
    assert "t1 = matmul t0 w0 w1 act=relu" in the_program(built)
    assert_same(packed, built, {"x": noise(5, 16)})
    assert_kernels_agree(built, {"x": noise(5, 16)})


def test_shapes_behind_reshapes_are_known() -> None:
    g = Graph()
    g.constant("rows", [0, 16, -1])
    g.op("Reshape", ["x", "rows"], "flat")
    g.op("Transpose", ["flat"], "tokens", perm=[0, 2, 1])
    feed_forward(g, "tokens", "y")
    packed, built, _ = regions_of(g.model({"x": (1, 16, 4, 6)}, ["y"], rank=3))
    assert outside(built) == ["Reshape", "Transpose"]
    assert_same(packed, built, {"x": noise(1, 16, 4, 6)})


def test_tokens_of_two_lengths_with_one_weight_are_two_regions() -> None:
    g = Graph()
    g.weight("w", (16, 24))
    for level in "ab":
        g.op("MatMul", [level, "w"], f"{level}.y")
    model = g.model({"a": (1, 9, 16), "b": (1, 4, 16)}, ["a.y", "b.y"], rank=3)
    packed, built, plan = regions_of(model)
    assert len(plan.regions) == 2
    assert_same(packed, built, {"a": noise(1, 9, 16), "b": noise(1, 4, 16)})


@pytest.mark.parametrize(
    ("nodes", "sizes", "left"),
    [
        ([("MatMul", ["x", "x"], "y", {})], ("n", 16, 16), ["MatMul"]),
        ([("MatMul", ["x", "w"], "y", {})], ("n", 3, 5, 16), ["MatMul"]),
        ([("MatMul", ["w", "x"], "y", {})], ("n", 16, 24), ["MatMul"]),
        ([("LayerNormalization", ["x", "s"], "y", {"axis": 1})], ("n", 4, 16), ["LayerNormalization"]),
    ],
)
def test_what_is_no_layer_of_tokens_stays_outside(
    nodes: list[tuple[str, list[str], str, dict[str, int]]], sizes: tuple[int | str, ...], left: list[str]
) -> None:
    g = Graph()
    g.weight("w", (16, 24) if nodes[0][1][0] == "x" else (24, 16))
    g.weight("s", (4, 16), 0.0)
    for kind, inputs, output, attributes in nodes:
        g.op(kind, inputs, output, **attributes)
    _, built, plan = regions_of(g.model({"x": sizes}, ["y"], rank=len(sizes)))
    assert not plan.regions
    assert [node.op_type for node in built.graph.node if node.op_type != "Cast"] == left


def test_a_bias_that_is_read_elsewhere_is_added_in_both_places() -> None:
    g = Graph()
    linear(g, "x", "a", (16, 24))
    g.op("Add", ["a.product", "a"], "y")
    packed, built, _ = regions_of(g.model({"x": ("n", 5, 16)}, ["y"], rank=3))
    assert_same(packed, built, {"x": noise(2, 5, 16)})


def test_a_layer_norm_alone_is_no_region() -> None:
    g = Graph()
    g.weight("s", (16,), 0.0)
    g.op("LayerNormalization", ["x", "s"], "y")
    _, built, plan = regions_of(g.model({"x": ("n", 5, 16)}, ["y"], rank=3))
    assert not plan.regions
    assert outside(built) == ["LayerNormalization"]


def qlinear(g: QuantizedGraph, x: str, output: str, features: tuple[int, int]) -> str:
    """A product with an int8 weight and the bias in floats, as ONNX Runtime's quantizer leaves them."""
    weight = g.qweight(f"{output}.weight", features[::-1], axis=1)
    g.op("MatMul", [x, weight], f"{output}.product")
    g.weight(f"{output}.bias", features[1:], 0.0)
    return g.op("Add", [f"{output}.product", f"{output}.bias"], output)


def test_products_between_quantized_tokens() -> None:
    g = QuantizedGraph()
    qlinear(g, g.bytes_of("x", 0.02, 128), "inner", (16, 40))
    g.op("Relu", ["inner"], "positive")
    qlinear(g, g.bytes_of("positive", 0.02, 0), "outer", (40, 16))
    g.op("Add", ["outer", "x"], "sum")
    g.weight("norm", (16,), 0.0)
    g.op("LayerNormalization", ["sum", "norm", "norm"], "y")
    packed, built, plan = regions_of(g.model({"x": ("n", 9, 16)}, ["y"], rank=3))
    assert len(plan.regions) == 1
    assert outside(built) == []
    lines = "\n".join(the_program(built))
    assert lines.count("qmatmul") == 2
    assert "layernorm" in lines
    feeds = {"x": noise(2, 9, 16)}
    assert_same(packed, built, feeds)
    assert_kernels_agree(built, feeds)


def test_a_product_whose_result_is_quantized_is_rounded_once() -> None:
    g = QuantizedGraph()
    weight = g.qweight("w", (40, 16), axis=1)
    g.op("MatMul", [g.bytes_of("x", 0.02, 128), weight], "a")
    g.qweight("v", (16, 40), axis=1)
    g.op("MatMul", [g.bytes_of("a", 0.05, 100), "v.dq"], "y")
    packed, built, _ = regions_of(g.model({"x": ("n", 5, 16)}, ["y"], rank=3))
    assert "out=u8:0.0500000007:100" in "\n".join(the_program(built))
    feeds = {"x": noise(3, 5, 16)}
    assert_same(packed, built, feeds)
    assert_kernels_agree(built, feeds)


@pytest.mark.parametrize("structure", ["in4", "2x4", "out2"])
def test_blocks_of_inputs_first_are_stored_as_blocks(structure: str) -> None:
    g, rng, block = QuantizedGraph(), np.random.default_rng(0), BLOCKS[structure]
    qlinear(g, g.bytes_of("x", 0.02, 128), "inner", (128, 256))
    g.op("Relu", ["inner"], "positive")
    linear(g, "positive", "y", (256, 128), 0.0)
    model = g.model({"x": ("n", 9, 128)}, ["y"], rank=3)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            outputs_first = np.ascontiguousarray(numpy_helper.to_array(tensor).T)
            filled = np.where(outputs_first == 0, outputs_first.dtype.type(1), outputs_first)
            tensor.CopyFrom(
                numpy_helper.from_array(np.ascontiguousarray(in_blocks(filled, block, 0.8, rng).T), tensor.name)
            )
    packed, built, plan = regions_of(model, least=0.3)
    assert len(plan.regions) == 1
    version, *lines = the_program(built)
    assert version == "lth_region 6"
    codings = [line.split()[1] for line in lines if line.startswith("weight ") and "," in line.split()[3]]
    assert [name.partition(":")[2] for name in codings] == [f"{block.inputs}x{block.outputs}"] * 2
    feeds = {"x": noise(2, 9, 128)}
    assert_same(packed, built, feeds)
    assert_kernels_agree(built, feeds)


def test_what_a_region_returns_has_a_shape_for_the_runtime() -> None:
    g = Graph()
    g.op("Softmax", [g.op("MatMul", ["x", g.weight("w", (16, 24))], "a")], "y", axis=-1)
    _, built, _ = regions_of(g.model({"x": (2, 9, 16)}, ["y"], rank=3))
    (value,) = [value for value in built.graph.value_info if value.name == "a"]
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [2, 9, 24]
