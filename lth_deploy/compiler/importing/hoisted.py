"""Large constants of loops and branches as initializers of the main graph, where layers find their weights."""

from collections import Counter
from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from lth_deploy.compiler.artifact.packed_weight import tensor_bytes
from lth_deploy.compiler.importing.constants import LIFT_BYTES, constant_value
from lth_deploy.compiler.model.traverse import all_graphs, inner_graphs, unused_name, used_names


def hoist_constants(model: ModelProto) -> list[str]:
    """Move them, in place; what was done. The same model always gives the same names.

    A name that several graphs give to values of their own is made longer.
    """
    hoist = _Hoist(model)
    for node in model.graph.node:
        for graph in inner_graphs(node):
            hoist.take_out(graph, {})
    model.graph.initializer.extend(hoist.moved)
    if not hoist.moved:
        return []
    return [f"constants of loops and branches became initializers of the main graph: {len(hoist.moved)}"]


class _Hoist:
    """The constants that were moved so far, and the names that are taken."""

    def __init__(self, model: ModelProto) -> None:
        self.moved: list[TensorProto] = []
        self._taken = used_names(model)
        self._makers = Counter(name for graph in all_graphs(model.graph) for name in _made(graph))

    def take_out(self, graph: GraphProto, renamed: dict[str, str]) -> None:
        """Move the constants of a graph and of those in it; renamed: what graphs around it lost, by the old name."""
        kept = {value.name for value in (*graph.output, *graph.input)}
        own = set(_made(graph))
        renamed = {old: new for old, new in renamed.items() if old not in own}
        tensors = []
        for tensor in graph.initializer:
            if tensor.name in kept or tensor_bytes(tensor) < LIFT_BYTES:
                tensors.append(TensorProto.FromString(tensor.SerializeToString()))
            else:
                self._move(tensor.name, tensor, renamed)
        nodes = []
        for node in graph.node:
            value = constant_value(node)
            if value is None or node.output[0] in kept or tensor_bytes(value) < LIFT_BYTES:
                nodes.append(NodeProto.FromString(node.SerializeToString()))
            else:
                self._move(node.output[0], value, renamed)
        del graph.initializer[:]
        graph.initializer.extend(tensors)
        del graph.node[:]
        graph.node.extend(nodes)
        for node in graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            for inner in inner_graphs(node):
                self.take_out(inner, renamed)

    def _move(self, name: str, tensor: TensorProto, renamed: dict[str, str]) -> None:
        fresh = name if self._makers[name] == 1 else unused_name(name, self._taken)
        moved = TensorProto()
        moved.CopyFrom(tensor)
        moved.name = renamed[name] = fresh
        self.moved.append(moved)


def _made(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.initializer))
    yield from (name for node in graph.node for name in node.output if name)
