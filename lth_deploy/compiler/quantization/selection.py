"""What ONNX Runtime's quantizer is given to quantize, and what it did beyond that taken back."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.model.last_layers import last_layers
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.compiler.quantization.learned_ranges import Grid, Learned, layer_of, place_grids
from lth_deploy.compiler.quantization.trunk import Trunk, trunk_of


@dataclass(frozen=True)
class Selection:
    """layers, carriers: names of nodes. tensors: those on grids. grids: those that are known, by tensor."""

    layers: tuple[str, ...]
    carriers: tuple[str, ...]
    tensors: frozenset[str]
    grids: Mapping[str, Grid] = field(default_factory=dict)

    @classmethod
    def of(cls, trunk: Trunk, tensors: Collection[str], grids: Mapping[str, Grid]) -> "Selection":
        """The nodes of a trunk."""
        layers, carriers = (tuple(node.name for node in nodes) for nodes in (trunk.layers, trunk.carriers))
        return cls(layers, carriers, frozenset(tensors), grids)


def by_training(model: ModelProto, learned: Learned) -> Selection:
    """What training with fake quantization had on grids. Logits and box deltas, which it had not, stay float.

    Raises:
        ArtifactError: a layer runs less often in the graph than in training.
    """
    grids = place_grids(model.graph, learned)
    trunk = trunk_of(model, lambda node: layer_of(node) in learned.layers, lambda traits: traits.trained_quantized)
    return Selection.of(trunk, {name for name, owner in trunk.owners.items() if owner in grids} | set(grids), grids)


def by_dataflow(model: ModelProto, keep_float: Container[str] = (), *, float_outputs: bool = True) -> Selection:
    """All layers whose weights are not in `keep_float`, and all tensors between them.

    float_outputs: what the last layers make stays float.
    """
    floats = outputs_of_last_layers(model) if float_outputs else set()
    trunk = trunk_of(model, lambda node: node.input[1] not in keep_float, floats=floats)
    return Selection.of(trunk, trunk.owners.keys() - floats, {})


def outputs_of_last_layers(model: ModelProto) -> set[str]:
    """What the layers make that no other follows."""
    layers = {node.output[0] for node in trunk_of(model).layers}
    return {node.output[0] for node in last_layers(model.graph, layers)}


def keep_others_float(model: ModelProto, tensors: Container[str]) -> None:
    """Take the quantization off all activations but `tensors`; the quantizer puts it on all that its nodes make."""
    graph = model.graph
    readers: dict[str, list[NodeProto]] = {}
    for node in all_nodes(graph):
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    returned = {value.name for value in graph.output}
    gone: list[NodeProto] = []
    renamed: dict[str, str] = {}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        name, backs = quantize.input[0], readers[quantize.output[0]]
        # What the graph returns keeps its name behind the pair; the quantizer gives what is before it another.
        own = next((back.output[0] for back in backs if back.output[0] in returned), name)
        if own in tensors:
            continue
        if own != name:
            renamed[name] = own
        renamed |= {back.output[0]: own for back in backs if back.output[0] != own}
        gone += [quantize, *backs]
    for node in gone:
        graph.node.remove(node)
    for node in all_nodes(graph):
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
