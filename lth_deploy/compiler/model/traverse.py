"""Walking through the nodes of an ONNX model, subgraphs included."""

from collections.abc import Iterator
from typing import Any, TypeVar

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from lth_deploy.errors import ArtifactError

M = TypeVar("M")

MAX_DEPTH = 16
"""Deepest nesting of If and Loop bodies that is accepted; real detectors have two."""


def all_nodes(graph: GraphProto, depth: int = 0) -> Iterator[NodeProto]:
    """Every node of a graph and of the graphs inside its attributes.

    Raises:
        ArtifactError: graphs are nested too deeply.
    """
    for inner in all_graphs(graph, depth):
        yield from inner.node


def all_graphs(graph: GraphProto, depth: int = 0) -> Iterator[GraphProto]:
    """The graph itself and every graph inside it; see `all_nodes`."""
    if depth > MAX_DEPTH:
        raise ArtifactError(f"graphs are nested deeper than {MAX_DEPTH} levels; simplify the model")
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner, depth + 1)


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in the attributes of a node, without those inside them."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def read_by(node: NodeProto) -> set[str]:
    """Every name that a node reads, in the graphs inside it too."""
    names = set(node.input)
    for outer in inner_graphs(node):
        for graph in all_graphs(outer):
            names.update(name for inner in graph.node for name in inner.input)
            names.update(value.name for value in graph.output)
    return names - {""}


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor in a model, wherever it stands: initializers, attributes, inner graphs, functions, training graphs.

    It follows the fields of the message and not what their meaning is, so none is overlooked.
    """
    return _all_messages(model, TensorProto)


def all_sparse_tensors(model: ModelProto) -> Iterator[SparseTensorProto]:
    """Every sparse tensor in a model, as `all_tensors`."""
    return _all_messages(model, SparseTensorProto)


def _all_messages(model: ModelProto, kind: type[M]) -> Iterator[M]:
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            # A list of messages has no descriptor of its own.
            for inner in (value,) if hasattr(value, "DESCRIPTOR") else value:
                if isinstance(inner, kind):
                    yield inner
                elif not isinstance(inner, TensorProto):
                    waiting.append(inner)


def used_names(model: ModelProto) -> set[str]:
    """Every name of a value in the model."""
    names: set[str] = set()
    for graph in all_graphs(model.graph):
        names.update(value.name for value in (*graph.input, *graph.output, *graph.initializer))
        names.update(tensor.values.name for tensor in graph.sparse_initializer)
        for node in graph.node:
            names.update(node.input)
            names.update(node.output)
    return names


def unused_name(name: str, names: set[str]) -> str:
    """`name`, made longer until it is none of `names`, which it joins."""
    while name in names:
        name += "_"
    names.add(name)
    return name


def consumed_names(model: ModelProto) -> set[str]:
    """Names that some node reads or that the model returns."""
    names = {value.name for value in model.graph.output}
    for node in all_nodes(model.graph):
        names.update(node.input)
    for graph in all_graphs(model.graph):
        names.update(value.name for value in graph.output)
    return names
