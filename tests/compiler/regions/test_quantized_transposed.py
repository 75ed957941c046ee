"""Transposed convolutions between bytes: a stock runtime sums floats, the kernels bytes: one step of difference."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import assert_programs, noise, regions_of, run

INPUT = {"x": ["n", 16, "h", "w"]}


def with_kernels(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(str(ops_library()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def transposed_of(built: ModelProto) -> QConvTranspose:
    (node,) = (node for node in built.graph.node if node.op_type == "Region0")
    (step,) = (step for step in program_of(node).instructions if isinstance(step, QConvTranspose))
    return step


@pytest.mark.parametrize(("outputs", "kernel"), [(32, (2, 2)), (7, (3, 3)), (30, (1, 2))])
def test_it_connects_the_layers_around_it(outputs: int, kernel: tuple[int, int]) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 32), scale=0.02, zero=0)
    up = g.qup(a, "up", (32, outputs), kernel, scale=0.03, zero=120)
    c = g.qconv(up, "c", (outputs, 8), 1, scale=0.04, zero=90)
    packed, built, plan = regions_of(g.model(INPUT, [up, c]), least=0.0)
    assert [region.weights for region in plan.regions] == [("a.weight", "up.weight", "c.weight")]
    assert transposed_of(built).kernel == kernel
    feeds = {"x": noise(2, 16, 9, 11)}
    for one, other in zip(run(packed, feeds), run(built, feeds), strict=True):
        assert np.array_equal(one, other)
    assert_programs(built, feeds, slack=0.04 * 1.001)
    stock, found = run(built, feeds), with_kernels(built, feeds)
    assert found[0].shape == (2, outputs, 9 * kernel[0], 11 * kernel[1])
    steps = np.rint(np.abs(found[0] - stock[0]) / np.float32(0.03))
    assert steps.max() <= 1
    assert np.mean(steps) < 0.01


def test_one_whose_output_stays_float_makes_floats() -> None:
    g = QuantizedGraph()
    up = g.qup(g.bytes_of("x"), "up", (16, 10), quantized=False)
    _, built, _ = regions_of(g.model(INPUT, [up]), least=0.0)
    assert transposed_of(built).out is None
    feeds = {"x": noise(1, 16, 5, 7)}
    assert_programs(built, feeds, slack=1e-4)
    np.testing.assert_allclose(with_kernels(built, feeds)[0], run(built, feeds)[0], rtol=1e-4, atol=1e-4)


def test_an_activation_before_its_bytes_is_taken_in() -> None:
    g = QuantizedGraph()
    g.op("LeakyRelu", [g.qup(g.bytes_of("x"), "up", (16, 12), quantized=False)], "act", alpha=0.1)
    out = g.bytes_of("act", 0.02, 40)
    _, built, _ = regions_of(g.model(INPUT, [out]), least=0.0)
    assert transposed_of(built).act.kind == "leaky"
    assert_programs(built, {"x": noise(1, 16, 9, 11)}, slack=0.02 * 1.001)


def test_the_quantizer_makes_what_the_kernels_take(tmp_path: Path) -> None:
    """The mask predictor of a Mask R-CNN: a transposed convolution, a ReLU and a 1x1 convolution."""
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    from lth_deploy.compiler.quantization.ort_static import quantize_dense

    rng = np.random.default_rng(3)
    shapes = {"w1": (16, 16, 3, 3), "b1": (16,), "w2": (16, 24, 2, 2), "b2": (24,), "w3": (5, 24, 1, 1), "b3": (5,)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("ConvTranspose", ["b", "w2", "b2"], ["c"], "up", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"], "relu2"),
        helper.make_node("Conv", ["d", "w3", "b3"], ["y"], "logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("x", 1, ["n", 16, "h", "w"])],
        [helper.make_tensor_value_info("y", 1, ["n", 5, "h2", "w2"])],
        [numpy_helper.from_array(rng.normal(0, 0.2, dims).astype(np.float32), name) for name, dims in shapes.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "dense.onnx"
    )
    feeds = [{"x": rng.standard_normal((3, 16, 14, 13)).astype(np.float32)} for _ in range(3)]
    quantize_dense(tmp_path / "dense.onnx", feeds, tmp_path / "int8.onnx")
    packed, built, plan = regions_of(onnx.load(tmp_path / "int8.onnx"), least=0.0)
    assert len(plan.regions) == 1
    assert not plan.outside
    step = transposed_of(built)
    assert step.out is not None
    assert step.out.zero == 0, "its ReLU is the clamp of its bytes"
    assert "qconvtranspose" in text(program_of(built.graph.node[0]))
    for given in feeds:
        stock, found = run(built, given)[0], with_kernels(built, given)[0]
        assert np.array_equal(stock, run(packed, given)[0])
        one = np.ptp(stock) / 200  # about a step of the bytes behind it
        assert np.abs(found - stock).max() < 2 * one
        assert np.mean(np.abs(found - stock) > one / 2) < 0.01


def per_tensor(g: QuantizedGraph) -> None:
    g.constant("up.weight.scale", 0.001, np.float32)
    g.constant("up.weight.zero", 0, np.int8)
    g.tensors["up.bias.scale"] = np.full(12, np.float32(0.03) * np.float32(0.001))


def asymmetric(g: QuantizedGraph) -> None:
    g.tensors["up.weight.zero"] = np.full(12, 3, np.int8)


def along_inputs(g: QuantizedGraph) -> None:
    (made,) = (node for node in g.nodes if node.output[0] == "up.weight.dq")
    made.attribute[0].i = 0
    g.tensors["up.weight.scale"] = np.full(16, 0.001, np.float32)
    g.tensors["up.weight.zero"] = np.zeros(16, np.int8)
    g.tensors["up.bias.scale"] = np.full(12, np.float32(0.03) * np.float32(0.001))


def grouped(g: QuantizedGraph) -> None:
    g.tensors["up.weight"] = g.tensors["up.weight"][:, :6]
    _attributes(g, group=2)


def overlapping(g: QuantizedGraph) -> None:
    _attributes(g, strides=[1, 1])


def spread(g: QuantizedGraph) -> None:
    _attributes(g, dilations=[2, 2])


def float_bias(g: QuantizedGraph) -> None:
    (up,) = (node for node in g.nodes if node.op_type == "ConvTranspose")
    up.input[2] = g.constant("bias", np.ones(12), np.float32)


def _attributes(g: QuantizedGraph, **attributes: Any) -> None:
    (up,) = (node for node in g.nodes if node.op_type == "ConvTranspose")
    kept = {"strides": [2, 2]} | attributes
    del up.attribute[:]
    up.attribute.extend(helper.make_attribute(name, value) for name, value in kept.items())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (per_tensor, "one scale for all outputs"),
        (asymmetric, "zero point other than zero"),
        (along_inputs, "not those of its output channels"),
        (grouped, "of 2 groups"),
        (overlapping, "stride is not its kernel"),
        (spread, "stride is not its kernel"),
        (float_bias, "its bias is not quantized"),
    ],
)
def test_what_the_kernels_do_not_compute_stays_dense_with_a_reason(fault: Any, reason: str) -> None:
    g = QuantizedGraph()
    up = g.qup(g.bytes_of("x"), "up", (16, 12), scale=0.03, zero=120)
    fault(g)
    packed, built, plan = regions_of(g.model(INPUT, [up]), least=0.0)
    assert not plan.regions
    assert reason in plan.outside["up.weight"]
    assert packed.SerializeToString() == built.SerializeToString()
