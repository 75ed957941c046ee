"""What is computed of a tensor value by value before anything else looks at it: its activation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.ort_session import session

_MOST_NODES = 16
"""Nodes of an activation: the longest that exporters write have fewer."""


@dataclass(frozen=True)
class Elementwise:
    """The nodes of an activation of one tensor, in graph order, and which of their results others read."""

    source: str
    nodes: tuple[NodeProto, ...]
    results: tuple[str, ...]


class Readers:
    """A graph in which the readers of each tensor are known."""

    def __init__(self, graph: GraphProto) -> None:
        self._readers: dict[str, list[tuple[int, NodeProto]]] = {}
        for place, node in enumerate(graph.node):
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append((place, node))
        self._returned = {value.name for value in graph.output}
        self.scalars: Mapping[str, TensorProto] = {
            tensor.name: tensor for tensor in graph.initializer if np.prod(tensor.dims) == 1
        }

    def of(self, name: str) -> list[NodeProto]:
        """The nodes of the main graph that read a tensor."""
        return [node for _, node in self._readers.get(name, [])]

    def elementwise(self, name: str) -> Elementwise:
        """What is computed of a tensor value by value; without nodes where it is read as it is."""
        made, nodes = {name}, dict[int, NodeProto]()
        waiting = [name]
        while waiting and len(nodes) < _MOST_NODES:
            for place, node in self._readers.get(waiting.pop(), []):
                if place not in nodes and self._is_of(node, made):
                    nodes[place] = node
                    made.update(node.output)
                    # A product of the tensor and of its sigmoid is found when the second of its inputs is.
                    waiting.extend([*made])
        ordered = tuple(nodes[place] for place in sorted(nodes))
        inside = {id(node) for node in ordered}
        ends = [one for one in made if one in self._returned or any(id(n) not in inside for n in self.of(one))]
        return Elementwise(name, ordered, tuple(sorted(ends)) or (name,))

    def _is_of(self, node: NodeProto, made: set[str]) -> bool:
        if not traits_of(node.op_type).elementwise or len(node.output) != 1:
            return False
        return all(name in made or name in self.scalars for name in node.input if name)


def function_of(found: Elementwise, scalars: Mapping[str, TensorProto], opset: int) -> Callable[[Array], list[Array]]:
    """The results of an activation for values of its tensor, float32 [N] each.

    scalars: constants that its nodes may read.

    Raises:
        ArtifactError: ONNX Runtime does not load the nodes.
    """
    if not found.nodes:
        return lambda values: [values]
    read = {name for node in found.nodes for name in node.input}
    computed = [name for name in found.results if name != found.source]
    graph = helper.make_graph(
        found.nodes,
        "activation",
        [helper.make_tensor_value_info(found.source, TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in computed],
        [tensor for name, tensor in scalars.items() if name in read],
    )
    running = session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))
    plain = found.source in found.results

    def results(values: Array) -> list[Array]:
        values_of: Sequence[Array] = running.run(None, {found.source: values})
        return [*([values] if plain else []), *(one.reshape(-1) for one in values_of)]

    return results
