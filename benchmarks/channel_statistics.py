"""Give pruned layers the means and variances of the dense network, as training after pruning would.

Random zeros shift what a layer makes, and over a hundred untrained layers the shifts multiply: activations overflow or
vanish, and then rounding alone moves scores from 0 to 1. So layers are scaled and shifted one after another.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Feeds

_LARGEST = 10.0
"""By how much weights grow or shrink at most: a channel without variance has nothing to be scaled."""


def with_statistics_of(dense: ModelProto, pruned: ModelProto, feeds: Feeds) -> ModelProto:
    """A copy of `pruned` whose convolutions have, channel by channel, the mean and variance of those of `dense`.

    pruned: `dense` with zeros, names and nodes alike. feeds: one input of both. A convolution without bias is scaled
    only. Each layer is judged on what its predecessors make after they were mended.
    """
    model = ModelProto()
    model.CopyFrom(pruned)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Conv" and set(node.input[1:]) <= set(tensors)]
    outputs = [layer.output[0] for layer in layers]
    wanted = dict(zip(outputs, _run(_showing(dense, outputs), outputs, feeds), strict=True))
    names = {name for layer in layers for name in layer.input[1:]}
    weights = {name: numpy_helper.to_array(tensors[name]) for name in names}
    session = _showing(model, outputs, [tensors[name] for name in names])
    for layer in layers:
        (found,) = _run(session, [layer.output[0]], {**feeds, **weights})
        weights.update(_mended(layer, weights, found, wanted[layer.output[0]]))
    for name, value in weights.items():
        tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return model


def _showing(
    model: ModelProto, outputs: Sequence[str], inputs: Sequence[TensorProto] = ()
) -> onnxruntime.InferenceSession:
    """A session that returns inner tensors, and takes initializers as inputs."""
    shown = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    shown.graph.input.extend(helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns of each initializer that is an input
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Feeds) -> list[np.ndarray]:
    return list(session.run(list(outputs), dict(feeds)))


def _mended(
    layer: NodeProto, weights: Mapping[str, np.ndarray], found: np.ndarray, wanted: np.ndarray
) -> dict[str, np.ndarray]:
    """Weights and biases with which a layer that makes `found` makes tensors with the statistics of `wanted`."""
    (mean, deviation), (target, spread) = _statistics(found), _statistics(wanted)
    scale = np.clip(spread / np.maximum(deviation, 1e-12), 1 / _LARGEST, _LARGEST).astype(np.float32)
    weight = weights[layer.input[1]]
    result = {layer.input[1]: weight * scale.reshape(-1, *[1] * (weight.ndim - 1))}
    if len(layer.input) > 2:
        bias = weights[layer.input[2]]
        result[layer.input[2]] = ((bias - mean) * scale + target).astype(np.float32)
    return result


def _statistics(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C] of [N, C, H, W]; of single pixels the deviation over all channels."""
    axes = (0, *range(2, value.ndim))
    mean, deviation = value.mean(axes, dtype=np.float64), value.std(axes, dtype=np.float64)
    if value.size == value.shape[1]:
        deviation = np.full_like(deviation, value.std(dtype=np.float64))
    return mean, deviation
