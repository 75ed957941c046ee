"""The weight layers of any ONNX model: which tensors are weights, who uses them, what forbids packing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.half_weights import half_obstacles
from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.artifact.packed_weight import StoredWeight, stored_weights
from lth_deploy.compiler.model.fixed_layers import fixed_layers
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.element_types import HALF_TYPES
from lth_deploy.formats import FORMATS

CHAIN = 8
"""Most operators in a row between a stored tensor and the layer that uses it."""


@dataclass(frozen=True)
class WeightLayer:
    """A weight and the nodes that use it; a weight shared by several nodes is one layer.

    zeros: weights equal to zero. group: groups of the convolution, 1 otherwise.
    obstacle: why this weight cannot be packed or pruned, or None.
    """

    name: str
    op_type: str
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    elements: int
    zeros: int
    group: int
    stored: StoredWeight
    obstacle: str | None

    @property
    def bf16(self) -> bool:
        """Whether the kernels multiply it in bf16: a convolution of one group, or a product."""
        return self.group == 1 and traits_of(self.op_type).bf16_kernels

    @property
    def uses(self) -> int:
        """Number of nodes that share the weight."""
        return len(self.nodes)


def weight_layers(model: ModelProto) -> list[WeightLayer]:
    """All weight layers in the order of the graph, of dense and of packed models alike.

    Raises:
        ArtifactError: a packed weight breaks the format.
    """
    model = expand_regions(model)
    stored = stored_weights(model)
    overridable = {value.name for value in model.graph.input} if model.ir_version >= 4 else set()
    users: dict[str, list[NodeProto]] = {}
    for node, weight in weight_users(model, stored):
        users.setdefault(weight, []).append(node)
    halves, fixed = half_obstacles(model), fixed_layers(model)
    layers = []
    for name, nodes in users.items():
        known = next((fixed[node.output[0]] for node in nodes if node.output[0] in fixed), halves.get(name))
        layers.append(_layer(stored[name], nodes, name in overridable, known))
    return layers


def weight_users(model: ModelProto, stored: dict[str, StoredWeight]) -> Iterator[tuple[NodeProto, str]]:
    """Every node with a stored weight, in graph order, and the name of that weight."""
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in all_nodes(model.graph):
        place = traits_of(node.op_type).weight_input
        if place is None or len(node.input) <= place:
            continue
        name = _source(node.input[place], producers, stored)
        if name is not None and len(stored[name].shape) >= 2:
            yield node, name


def _source(name: str, producers: dict[str, NodeProto], stored: dict[str, StoredWeight]) -> str | None:
    for _ in range(CHAIN):
        if name in stored:
            return name
        node = producers.get(name)
        if node is None or not traits_of(node.op_type).leads_to_weight or not node.input:
            return None
        name = node.input[0]
    return None


def _layer(stored: StoredWeight, nodes: list[NodeProto], overridable: bool, obstacle: str | None) -> WeightLayer:
    weights = stored.weights()
    first = nodes[0]
    group = next((int(a.i) for a in first.attribute if a.name == "group"), 1)
    return WeightLayer(
        name=stored.name,
        op_type=first.op_type,
        nodes=tuple(node.name or node.output[0] for node in nodes),
        shape=stored.shape,
        elements=weights.size,
        zeros=weights.size - int(np.count_nonzero(weights)),
        group=group,
        stored=stored,
        obstacle=obstacle or _obstacle(stored, weights, overridable),
    )


def _obstacle(stored: StoredWeight, weights: Array, overridable: bool) -> str | None:
    if not stored.int8 and stored.value_type not in (TensorProto.FLOAT, *HALF_TYPES):
        return f"stored as {stored.type_name}; only float32, float16, bfloat16 and int8 weights are packed"
    if overridable:
        return "a caller may replace it: it is an input of the graph"
    if weights.size == 0:
        return "it has no weights"
    if not stored.int8 and not np.isfinite(weights.astype(np.float32)).all():
        return "it holds NaN or infinite weights"
    if not FORMATS.get("bitmask").supports(weights):
        return "its size or rank is beyond the format"
    return None
