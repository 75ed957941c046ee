"""What of a graph is quantized: layers with weights, and what carries feature maps from one to the next."""

from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import NodeProto

from lth_deploy.compiler.model.fixed_layers import fixed_layers
from lth_deploy.compiler.model.operators import Traits, traits_of


@dataclass(frozen=True)
class Trunk:
    """layers, carriers: nodes, in graph order."""

    layers: tuple[NodeProto, ...]
    carriers: tuple[NodeProto, ...]

    @property
    def names(self) -> list[str]:
        """Names of all nodes."""
        return [node.name for node in (*self.layers, *self.carriers)]

    @cached_property
    def owners(self) -> dict[str, str]:
        """Every tensor that the nodes read or make, features only, and the one whose grid it is on: often itself."""
        owners: dict[str, str] = {}
        made = {node.output[0]: node for node in self.carriers}
        for node in (*self.layers, *self.carriers):
            for name in (*data_inputs(node), node.output[0]):
                owners[name] = name
        for name in owners:
            owner = name
            while owner in made and traits_of(made[owner].op_type).keeps_range:
                owner = made[owner].input[0]
            owners[name] = owner
        return owners

    def absorbed(self, readers: Callable[[str], Collection[NodeProto]]) -> set[str]:
        """Tensors that are read by nothing but a Relu or Clip of the trunk: only what that makes gets a grid."""
        inside = {node.output[0] for node in self.carriers if traits_of(node.op_type).clamps}
        return {
            name
            for name in self.owners
            if (found := list(readers(name))) and len(found) == 1 and found[0].output[0] in inside
        }


def data_inputs(node: NodeProto) -> list[str]:
    """The features that a node of the trunk reads."""
    return list(node.input) if traits_of(node.op_type).joins else list(node.input[:1])


def trunk_of(
    model: onnx.ModelProto,
    is_wanted: Callable[[NodeProto], bool] = lambda node: True,
    carries: Callable[[Traits], bool] = lambda traits: traits.carries_uint8,
    floats: Container[str] = (),
) -> Trunk:
    """The layers that are wanted and that somebody trained, and the carriers between them.

    A carrier qualifies when its operator has the trait that `carries` asks for, all its data inputs come out of the
    trunk and something of the trunk reads it; box arithmetic fails the second test, for it starts from reshapes, and
    score heads the third.
    floats: tensors that no carrier reads or makes.
    """
    graph, fixed = model.graph, fixed_layers(model)
    constants = _float_constants(graph)
    layers = [node for node in graph.node if _is_weight_layer(node, constants) and is_wanted(node)]
    layers = [node for node in layers if node.output[0] not in fixed]
    features = {node.output[0] for node in layers if node.output[0] not in floats}
    carriers: list[NodeProto] = []
    for node in graph.node:
        fits = carries(traits_of(node.op_type)) and node.output[0] not in floats
        if fits and all(name in features for name in data_inputs(node)):
            features.add(node.output[0])
            carriers.append(node)
    return Trunk(tuple(layers), tuple(_read_by_trunk(carriers, layers)))


def _read_by_trunk(carriers: list[NodeProto], layers: list[NodeProto]) -> list[NodeProto]:
    wanted = {n.input[0] for n in layers}
    kept = []
    for node in reversed(carriers):
        if node.output[0] in wanted:
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _float_constants(graph: onnx.GraphProto) -> set[str]:
    names = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"] if node.op_type == "Constant" else []
        if values and values[0].data_type == onnx.TensorProto.FLOAT:
            names.add(node.output[0])
    return names


def _is_weight_layer(node: NodeProto, constants: set[str]) -> bool:
    is_layer = traits_of(node.op_type).float_layer
    return is_layer and node.input[1] in constants and node.input[0] not in constants


def name_nodes(graph: onnx.GraphProto) -> None:
    """The quantizer addresses nodes by name, and names need not exist nor be unique in ONNX."""
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
