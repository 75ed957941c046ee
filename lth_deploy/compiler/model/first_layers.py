"""Which layer with a weight reads an input of the graph first: it says how many channels the input has, and where."""

from collections import defaultdict
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import weight_users
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of

_MOST_NODES = 64
"""Nodes that are looked at between an input and its layer."""


@dataclass(frozen=True)
class FirstLayer:
    """What a layer says of the input that it reads, by way of nodes that keep or permute its axes.

    channels: size of the axis `axis` of the input. rank: of the input; None where the layer takes several.
    """

    channels: int
    axis: int
    rank: int | None


def first_layers(model: ModelProto) -> dict[str, FirstLayer]:
    """The first layer of each input of the main graph that has one.

    Raises:
        ArtifactError: a packed weight breaks the format.
    """
    model = expand_regions(model)
    stored = stored_weights(model)
    weights = {node.output[0]: stored[weight].shape for node, weight in weight_users(model, stored)}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    found = {}
    for value in model.graph.input:
        layer = _first(value.name, readers, weights)
        if layer is not None:
            found[value.name] = layer
    return found


def _first(name: str, readers: dict[str, list[NodeProto]], weights: dict[str, tuple[int, ...]]) -> FirstLayer | None:
    waiting: list[tuple[str, tuple[int, ...] | None]] = [(name, None)]
    for _ in range(_MOST_NODES):
        if not waiting:
            return None
        name, order = waiting.pop(0)
        for node in readers[name]:
            shape = weights.get(node.output[0])
            if shape is not None and node.input[0] == name:
                return _read_by(node, shape, order)
            if traits_of(node.op_type).before_first_layer:
                waiting.append((node.output[0], order))
            elif node.op_type == "Transpose":
                perm = tuple(attribute(node, "perm", ()))
                if perm and (order is None or len(order) == len(perm)):
                    waiting.append((node.output[0], tuple(order[one] for one in perm) if order else perm))
    return None


def _read_by(node: NodeProto, shape: tuple[int, ...], order: tuple[int, ...] | None) -> FirstLayer | None:
    """order: of the input's axes as the node sees them; None for their own."""
    rank: int | None
    if "Conv" in node.op_type:
        channels = shape[0] if node.op_type == "ConvTranspose" else shape[1] * int(attribute(node, "group", 1))
        axis, rank = 1, len(shape)
    elif node.op_type == "Gemm":
        channels, axis, rank = shape[1 if attribute(node, "transB", 0) else 0], 1, 2
        axis = 0 if attribute(node, "transA", 0) else axis
    else:
        channels, axis, rank = shape[-2], -1, len(order) if order else None
    if order is not None:
        if rank != len(order):
            return None
        axis = order[axis]
    return FirstLayer(channels, axis, rank)
