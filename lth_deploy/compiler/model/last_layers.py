"""The layers behind which no other layer computes with features: the predictors of a detector's heads, for instance."""

from collections.abc import Collection

from onnx import GraphProto, NodeProto

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_nodes, inner_graphs


def feature_inputs(node: NodeProto) -> list[str]:
    """The inputs of a node whose values are in what it makes; those that inner graphs read are among them."""
    places = traits_of(node.op_type).feature_inputs
    if places is not None:
        return [node.input[place] for place in places if place < len(node.input) and node.input[place]]
    return all_inputs(node)


def all_inputs(node: NodeProto) -> list[str]:
    """The inputs of a node, and what its inner graphs read."""
    captured = [name for graph in inner_graphs(node) for inner in all_nodes(graph) for name in inner.input]
    return [name for name in (*node.input, *captured) if name]


def last_layers(graph: GraphProto, layers: Collection[str]) -> list[NodeProto]:
    """Those of the nodes of the main graph that make `layers` from which no feature reaches another, in graph order.

    A layer whose boxes or scores only choose what others look at is a last one, as the predictors of proposals are.
    """
    before: set[str] = set()
    last: list[NodeProto] = []
    for node in reversed(graph.node):
        is_layer = any(name in layers for name in node.output)
        reached = not before.isdisjoint(node.output)
        if is_layer and not reached:
            last.append(node)
        if is_layer or reached:
            before.update(feature_inputs(node))
    return last[::-1]
