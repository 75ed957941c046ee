"""Sums over an axis along which tensors were stacked for it, as sums of the tensors.

Exporters write `torch.stack(maps, dim=-1).sum(dim=-1)`, the fusion of a BiFPN, as Unsqueeze, Concat and ReduceSum: a
copy of all maps in which each value lies beside its partners, that nothing but the sum reads.
"""

from onnx import ModelProto, NodeProto, helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.model.attributes import attribute

_MOST = 16
"""Most tensors of a sum."""


def add_stacked(model: ModelProto) -> int:
    """Write, in place, each as a chain of Adds; how many."""
    if not any(standard(node, "ReduceSum") for node in model.graph.node):
        return 0
    graph = MainGraph(model)
    found = {id(node): stack for node in graph.nodes if (stack := _stack_of(graph, node)) is not None}
    gone = {id(node) for stack in found.values() for node in stack}
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        if id(node) in found:
            nodes.extend(_chain(graph, [unsqueeze.input[0] for unsqueeze in found[id(node)][:-1]], node))
        elif id(node) not in gone:
            nodes.append(node)
    if found:
        put_nodes(model, nodes)
    return len(found)


def _stack_of(graph: MainGraph, node: NodeProto) -> list[NodeProto] | None:
    """The Unsqueezes of the tensors that a ReduceSum adds, and their Concat; None of other nodes."""
    axis = _axis(graph, node) if standard(node, "ReduceSum") and not attribute(node, "keepdims", 1) else None
    joined = graph.makers.get(node.input[0]) if axis is not None else None
    if joined is None or not standard(joined, "Concat") or not 2 <= len(joined.input) <= _MOST:
        return None
    if attribute(joined, "axis", None) != axis or graph.only_reader(joined.output[0]) is not node:
        return None
    stacked = [graph.makers.get(name) for name in joined.input]
    unsqueezes = [made for made in stacked if made is not None and standard(made, "Unsqueeze")]
    if len(unsqueezes) < len(stacked) or any(_axis(graph, made) != axis for made in unsqueezes):
        return None
    are_read_alone = all(graph.only_reader(made.output[0]) is joined for made in unsqueezes)
    return [*unsqueezes, joined] if are_read_alone else None


def _axis(graph: MainGraph, node: NodeProto) -> int | None:
    """The only axis that the second input of a node names."""
    tensor = graph.tensor(node.input[1]) if len(node.input) > 1 else None
    axes = None if tensor is None else array_of(tensor).reshape(-1)
    return int(axes[0]) if axes is not None and axes.size == 1 else None


def _chain(graph: MainGraph, sources: list[str], node: NodeProto) -> list[NodeProto]:
    nodes, total = [], sources[0]
    for number, source in enumerate(sources[1:], 1):
        last = number == len(sources) - 1
        made = node.output[0] if last else graph.fresh(f"{node.output[0]}.{number}")
        nodes.append(helper.make_node("Add", [total, source], [made], node.name if last else made))
        total = made
    return nodes
