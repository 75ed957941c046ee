"""benchmarks/channel_statistics.py: pruned layers get the statistics of the dense ones, each part being run once."""

import numpy as np
import onnxruntime
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchmarks.channel_statistics import with_statistics_of

LAYERS = ("first", "second", "third")


def model(seed: int) -> ModelProto:
    """Three layers in a row, of which two share a bias, and a sum beside them."""
    rng = np.random.default_rng(seed)
    weights = {f"{name}.w": rng.standard_normal((4, 4, 3, 3)).astype(np.float32) for name in LAYERS}
    nodes = [
        helper.make_node("Conv", ["x", "first.w", "shared"], ["first"], pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["a"]),
        helper.make_node("Conv", ["a", "second.w", "shared"], ["second"], pads=[1] * 4),
        helper.make_node("Add", ["second", "a"], ["b"]),
        helper.make_node("Conv", ["b", "third.w"], ["third"], pads=[1] * 4),
    ]
    values = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    values.append(numpy_helper.from_array(np.zeros(4, np.float32), "shared"))
    x = helper.make_tensor_value_info("x", 1, [1, 4, 16, 16])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("third", 1, None)], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def statistics(made: ModelProto, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    values = ReferenceEvaluator(made).run(list(LAYERS), {"x": x})
    return {name: (value.mean((0, 2, 3)), value.std((0, 2, 3))) for name, value in zip(LAYERS, values, strict=True)}


def test_every_pruned_layer_has_the_statistics_of_the_dense_one() -> None:
    dense, pruned = model(0), model(0)
    for tensor in pruned.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 4:
            kept = np.random.default_rng(1).random(value.shape) < 0.3
            tensor.CopyFrom(numpy_helper.from_array(value * kept, tensor.name))
    x = np.random.default_rng(2).standard_normal((1, 4, 16, 16)).astype(np.float32)
    mended = with_statistics_of(dense, pruned, {"x": x})
    found, wanted = statistics(mended, x), statistics(dense, x)
    for name in LAYERS:
        np.testing.assert_allclose(found[name][1], wanted[name][1], rtol=1e-3)
    for name in LAYERS[:2]:  # the third has no bias, and is scaled alone
        np.testing.assert_allclose(found[name][0], wanted[name][0], atol=1e-3)
    for before, after in zip(pruned.graph.initializer[:3], mended.graph.initializer[:3], strict=True):
        zeros = [numpy_helper.to_array(one) == 0 for one in (before, after)]
        np.testing.assert_array_equal(*zeros)
    onnxruntime.InferenceSession(mended.SerializeToString(), providers=["CPUExecutionProvider"])
