"""Quantization of tickets: channels that pruning emptied keep exact biases, and the error of each layer is its own."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

pytest.importorskip("sympy", reason="the int8 extra is not installed")

from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.quantization.quantize_ticket import Quantized, is_quantized, quantize
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from
from lth_deploy.config.target import Target
from tests.compiler.onnx_models import run

INT8 = Target(values="int8")


def layer(weights: np.ndarray, bias: np.ndarray, transposed: bool = False) -> ModelProto:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1] * 4)
    if transposed:
        node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], "up", strides=weights.shape[2:])
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", 1, [1, weights.shape[0 if transposed else 1], "h", "w_"])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.ascontiguousarray(weights), "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def pictures(channels: int, count: int = 3) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.standard_normal((1, channels, 9, 11)).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "transposed"])
def thin(request: pytest.FixtureRequest) -> tuple[ModelProto, Quantized]:
    """Channel 2 has no weights, channel 3 tiny ones; both have biases."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.2, (8, 16, 3, 3)).astype(np.float32)
    weights[2] = 0
    weights[3] *= 1e-7
    stored = weights.swapaxes(0, 1) if request.param else weights
    model = layer(stored, rng.normal(0, 1, 8).astype(np.float32), transposed=request.param)
    return model, quantize(normalize(model), pictures(16), INT8)


def test_an_empty_channel_is_its_bias_within_half_a_step(thin: tuple[ModelProto, Quantized]) -> None:
    model, made = thin
    assert is_quantized(made.model.proto)
    assert not is_quantized(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.model.proto.graph.initializer}
    feeds = pictures(16)[0]
    exact, found = (run(one, feeds)["y"] for one in (model, made.model.proto))
    step = float(stored["y_scale"])
    assert np.abs(found - exact)[:, 2].max() <= 0.51 * step
    assert np.abs(found - exact)[:, 3].max() <= 0.51 * step
    bias = stored["b_quantized"] * stored["b_quantized_scale"].astype(np.float64)
    np.testing.assert_allclose(bias, numpy_helper.to_array(model.graph.initializer[1]), rtol=0, atol=step / 50)


def test_a_channel_of_tiny_weights_stays_within_32_bits_and_in_its_region(thin: tuple[ModelProto, Quantized]) -> None:
    _, plan = build_regions(pack(thin[1].model)[0], zeros_from(0.0))
    assert plan.outside == {}
    assert [region.weights for region in plan.regions] == [("w",)]


def test_the_error_of_a_layer_is_that_of_its_rounded_input_and_weights() -> None:
    rng = np.random.default_rng(1)
    model = layer(rng.normal(0, 0.2, (8, 16, 3, 3)).astype(np.float32), rng.normal(0, 1, 8).astype(np.float32))
    feeds = pictures(16)
    made = quantize(normalize(model), feeds, INT8)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.model.proto.graph.initializer}
    scale, zero = stored["x_scale"], int(stored["x_zero_point"])
    weights = stored["w"] * stored["w_scale"][:, None, None, None]
    rounded = layer(weights, (stored["b_quantized"] * stored["b_quantized_scale"]).astype(np.float32))
    error = power = 0.0
    for feed in feeds:
        x = (np.clip(np.rint(feed["x"] / scale) + zero, 0, 255) - zero).astype(np.float32) * scale
        exact = run(model, feed)["y"].astype(np.float64)
        error += float(np.square(run(rounded, {"x": x})["y"] - exact).sum())
        power += float(np.square(exact).sum())
    assert made.errors == {"w": pytest.approx(np.sqrt(error / power), rel=1e-3)}
    assert 0 < made.errors["w"] < 0.02


def test_the_model_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    model = layer(rng.normal(0, 0.2, (8, 16, 3, 3)).astype(np.float32), np.zeros(8, np.float32))
    before = model.SerializeToString(deterministic=True)
    quantize(normalize(model), pictures(16), INT8)
    assert model.SerializeToString(deterministic=True) == before
    assert onnx.load_model_from_string(before).graph.node[0].op_type == "Conv"


@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_the_bins_of_dfl_stay_as_they_are(method: str) -> None:
    rng = np.random.default_rng(6)
    bins = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "layer", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "sides"], ["c"], "predictor"),
        helper.make_node("Reshape", ["c", "shape"], ["d"], "apart"),
        helper.make_node("Softmax", ["d"], ["e"], "shares", axis=1),
        helper.make_node("Conv", ["e", "bins"], ["y"], "dfl"),
    ]
    tensors = {
        "w": rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32),
        "sides": rng.normal(0, 0.5, (64, 8, 1, 1)).astype(np.float32),
        "shape": np.array([1, 16, 4, 99]),
        "bins": bins,
    }
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("x", 1, [1, 3, 9, 11])],
        [helper.make_tensor_value_info("y", 1, [1, 1, 4, 99])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    target = Target.model_validate({"values": "int8", "calibration": {"method": method}})
    made = quantize(normalize(model), pictures(3), target)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.model.proto.graph.initializer}
    assert stored["w"].dtype == stored["sides"].dtype == np.int8
    np.testing.assert_array_equal(stored["bins"], bins)
    (fixed,) = [node for node in made.model.proto.graph.node if node.name == "dfl"]
    assert list(fixed.input) == ["e", "bins"]
