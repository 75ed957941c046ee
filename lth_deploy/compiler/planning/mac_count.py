"""How often each weight is multiplied in one inference: measured, because sizes are dynamic."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import WeightLayer, weight_users
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.model.traverse import unused_name, used_names
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError

_BY_INPUT = frozenset({"ConvTranspose"})


@dataclass(frozen=True)
class MacCount:
    """Multiplications of one inference: all, and those with a weight that is zero."""

    total: int
    zero: int

    @property
    def zero_share(self) -> float:
        """Share of multiplications by zero; 0 when there are none."""
        return self.zero / self.total if self.total else 0.0


@dataclass(frozen=True)
class Uses:
    """How one inference uses weights, by their names.

    positions: the number of times that each weight of it is multiplied, over all nodes that share it. batches: how many
    planes or rows at once one node takes at most: images, or regions of interest. sizes: shape of each input.
    """

    positions: dict[str, int] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)


def uses(model: NormalizedModel, feeds: Feeds) -> Uses:
    """Count how the weights of a model are used.

    The dense model runs once in ONNX Runtime on `feeds`, reporting the shapes of inputs and outputs of its
    layers. A convolution multiplies each weight once per output position, a transposed one once per input
    position, a product once per row. Nodes inside If and Loop bodies are not counted.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    names = used_names(model.proto)
    top_level = {output for node in model.proto.graph.node for output in node.output}
    probes: list[tuple[str, NodeProto, str]] = []
    for node, weight in weight_users(model.proto, stored_weights(model.proto)):
        if node.output[0] in top_level:
            probes.append((weight, node, unused_name(f"lth_deploy.shape.{len(probes)}", names)))
    shapes = _shapes(model.proto, {output: watched_output(node) for _, node, output in probes}, feeds)
    counted = Uses(sizes={name: list(np.shape(value)) for name, value in feeds.items()})
    for weight, node, output in probes:
        times, batch = multiplications(node, [int(size) for size in shapes[output]]), int(shapes[output][0])
        counted.positions[weight] = counted.positions.get(weight, 0) + times
        counted.batches[weight] = max(counted.batches.get(weight, 0), batch)
    return counted


def positions(model: NormalizedModel, feeds: Feeds) -> dict[str, int]:
    """The positions of `uses` alone."""
    return uses(model, feeds).positions


def count_macs(layers: Iterable[WeightLayer], times: Mapping[str, int]) -> MacCount:
    """Multiplications of layers, from how often each weight is used; unknown layers count nothing."""
    total = zero = 0
    for layer in layers:
        total += layer.elements * times.get(layer.name, 0)
        zero += layer.zeros * times.get(layer.name, 0)
    return MacCount(total, zero)


def value_shapes(model: ModelProto, names: Sequence[str], feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """Shapes of values of the main graph of a model, or of its inputs, as it runs on `feeds`.

    Raises:
        ArtifactError: the model does not run.
    """
    given = {name: np.shape(feeds[name]) for name in names if name in feeds}
    taken = used_names(model)
    probes = {unused_name(f"lth_deploy.shape.{i}", taken): name for i, name in enumerate(names) if name not in given}
    found = _shapes(model, probes, feeds)
    return given | {probes[output]: tuple(int(size) for size in shape) for output, shape in found.items()}


def _shapes(model: ModelProto, probes: Mapping[str, str], feeds: Feeds) -> dict[str, Array]:
    """Shapes of values of a model that runs on `feeds`. probes: a fresh name for each shape, to the value."""
    import onnxruntime

    if not probes:
        return {}
    added = ModelProto()
    for output, value in probes.items():
        added.graph.node.append(helper.make_node("Shape", [value], [output]))
        added.graph.output.append(helper.make_tensor_value_info(output, TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity()
    # Fusions could remove what is watched.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        # Protobuf reads messages that follow each other as one, whose lists are joined: so nothing is copied.
        content = to_bytes(model) + added.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        results = session.run(list(probes), dict(feeds))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        failure = failure_of(error)
        raise ArtifactError(f"the model does not run in ONNX Runtime: {failure.reason}", detail=failure.text) from error
    return {name: np.asarray(value) for name, value in zip(probes, results, strict=True)}


def watched_output(node: NodeProto) -> str:
    """The value of which the size says how often the weights of a layer are multiplied."""
    return str(node.input[0] if node.op_type in _BY_INPUT else node.output[0])


def multiplications(node: NodeProto, size: Sequence[int]) -> int:
    """How often a layer multiplies each of its weights, from the size of `watched_output`."""
    if "Conv" in node.op_type:
        return size[0] * math.prod(size[2:])
    return math.prod(size[:-1])
