"""Give pruned layers the means and variances of the dense network, as training after pruning would.

Random zeros shift what a layer makes, and over a hundred untrained layers the shifts multiply: activations overflow or
vanish, and then rounding alone moves scores from 0 to 1. So layers are scaled and shifted one after another, and each
part of the network runs once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.compiler.model.traverse import read_by, unused_name, used_names

_LARGEST = 10.0
"""By how much weights grow or shrink at most: a channel without variance has nothing to be scaled."""


@dataclass(frozen=True)
class _Part:
    """Nodes that run together. layer: the convolution that ends them, of which later parts read the mended output."""

    nodes: Sequence[NodeProto]
    layer: NodeProto | None


def with_statistics_of(dense: ModelProto, pruned: ModelProto, feeds: Feeds) -> ModelProto:
    """A copy of `pruned` whose convolutions have, channel by channel, the mean and variance of those of `dense`.

    pruned: `dense` with zeros, names and nodes alike. feeds: one input of both. A convolution without bias is scaled
    only. Each layer is judged on what its predecessors make after they were mended. A weight that several layers share
    is scaled at the first of them; biases of one value, which exporters join, become one for each layer.
    """
    model = _with_own_biases(pruned)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    parts = list(_parts(model, set(tensors)))
    outputs = [part.layer.output[0] for part in parts if part.layer is not None]
    wanted = dict(zip(outputs, _run(_showing(dense, outputs), outputs, feeds), strict=True))
    values: Arrays = dict(feeds)
    mended: set[str] = set()
    for number, part in enumerate(parts):
        later = {name for other in parts[number + 1 :] for node in other.nodes for name in read_by(node)}
        values |= _computed(model, part, values, tensors, later | set(outputs))
        if part.layer is not None:
            name, weight = part.layer.output[0], part.layer.input[1]
            values[name] = _mend(part.layer, tensors, values[name], wanted[name], scaled=weight in mended)
            mended.add(weight)
        values = {name: value for name, value in values.items() if name in later}
    return model


def _with_own_biases(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    taken, seen = used_names(copy), set[str]()
    for node in copy.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[2] not in tensors:
            continue
        if node.input[2] in seen:
            own = copy.graph.initializer.add()
            own.CopyFrom(tensors[node.input[2]])
            own.name = node.input[2] = unused_name(own.name, taken)
        seen.add(node.input[2])
    return copy


def _parts(model: ModelProto, constants: set[str]) -> Iterator[_Part]:
    """The nodes of a model in their order, cut behind each convolution whose weights are initializers."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "Conv" and constants.issuperset(node.input[1:]):
            yield _Part(tuple(nodes), node)
            nodes = []
    yield _Part(tuple(nodes), None)


def _computed(
    model: ModelProto, part: _Part, values: Feeds, tensors: Mapping[str, TensorProto], wanted: set[str]
) -> Arrays:
    """What a part makes of earlier values, as far as it is wanted."""
    made = {name for node in part.nodes for name in node.output}
    names = sorted(made & wanted)
    if not names:
        return {}
    read = {name for node in part.nodes for name in read_by(node)} - made
    given = {name: values[name] for name in sorted(read & values.keys())}
    graph = helper.make_graph(
        part.nodes,
        "part",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in given.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [tensors[name] for name in sorted(read & tensors.keys())],
    )
    small = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    small.functions.extend(model.functions)
    return dict(zip(names, _run(_session(small), names, given), strict=True))


def _mend(
    layer: NodeProto, tensors: Mapping[str, TensorProto], found: np.ndarray, wanted: np.ndarray, *, scaled: bool
) -> np.ndarray:
    """Scale and shift a layer that makes `found`, so that it has the statistics of `wanted`; returns what it makes.

    scaled: whether its weight has been scaled before, and stays as it is.
    """
    (mean, deviation), (target, spread) = _statistics(found), _statistics(wanted)
    scale = np.clip(spread / np.maximum(deviation, 1e-12), 1 / _LARGEST, _LARGEST).astype(np.float32)
    if scaled:
        scale = np.ones_like(scale)
    weight = numpy_helper.to_array(tensors[layer.input[1]])
    _replace(tensors[layer.input[1]], weight * _along_channels(scale, weight.ndim, axis=0))
    shift = np.zeros_like(scale)
    if len(layer.input) > 2:
        bias = numpy_helper.to_array(tensors[layer.input[2]])
        shifted = ((bias - mean) * scale + target).astype(np.float32)
        _replace(tensors[layer.input[2]], shifted)
        shift = shifted - bias * scale
    factors, terms = (_along_channels(one, found.ndim, axis=1) for one in (scale, shift))
    return (found * factors + terms).astype(found.dtype)


def _along_channels(values: np.ndarray, dims: int, axis: int) -> np.ndarray:
    return values.reshape(*[1] * axis, -1, *[1] * (dims - axis - 1))


def _replace(tensor: TensorProto, value: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


def _showing(model: ModelProto, outputs: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session that returns inner tensors."""
    shown = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    return _session(shown)


def _session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Feeds) -> list[np.ndarray]:
    return list(session.run(list(outputs), dict(feeds)))


def _statistics(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C] of [N, C, H, W]; of single pixels the deviation over all channels."""
    axes = (0, *range(2, value.ndim))
    mean, deviation = value.mean(axes, dtype=np.float64), value.std(axes, dtype=np.float64)
    if value.size == value.shape[1]:
        deviation = np.full_like(deviation, value.std(dtype=np.float64))
    return mean, deviation
