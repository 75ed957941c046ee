"""Which matrix products belong to a transformer that ends a detector, as the decoder of a DETR does."""

from collections.abc import Callable, Collection, Iterable

from onnx import GraphProto, NodeProto

from lth_deploy.compiler.model.last_layers import all_inputs, feature_inputs

_LAYERS = ("Gemm", "MatMul")
_PRODUCTS = ("Einsum", "MatMul")
_ATTENTION = ("Attention", "MultiHeadAttention")


def transformer_decoder(graph: GraphProto, layers: Collection[str]) -> set[str]:
    """What the matrix products of such a decoder make; `layers`: what each layer with a weight makes.

    A product of activations with activations is attention. Where no convolution follows, it is that of a decoder, and
    so are all matrix products with weights that it depends on or that depend on it, and that no convolution follows
    either. Here a choice counts too: with a little error in scores, a decoder gets other queries. Transformers between
    convolutions, such as the blocks of a backbone, are none.
    """
    convolutions = (node for node in graph.node if node.op_type == "Conv" and _is(node, layers))
    convolved = _before(graph, convolutions, feature_inputs)
    live = _live(graph)
    attention = [node for node in graph.node if _attends(node, live) and convolved.isdisjoint(node.output)]
    connected = _before(graph, attention, all_inputs) | _behind(graph, attention)
    return {
        node.output[0]
        for node in graph.node
        if node.op_type in _LAYERS
        and _is(node, layers)
        and node.output[0] in connected
        and node.output[0] not in convolved
    }


def _is(node: NodeProto, layers: Collection[str]) -> bool:
    return any(name in layers for name in node.output)


def _attends(node: NodeProto, live: set[str]) -> bool:
    if node.op_type in _ATTENTION:
        return True
    return node.op_type in _PRODUCTS and sum(name in live for name in node.input[:2]) == 2


def _live(graph: GraphProto) -> set[str]:
    """All that holds features of the inputs of a graph."""
    constants = {tensor.name for tensor in graph.initializer}
    live = {value.name for value in graph.input} - constants
    for node in graph.node:
        if not live.isdisjoint(feature_inputs(node)):
            live.update(node.output)
    return live


def _before(graph: GraphProto, nodes: Iterable[NodeProto], read: Callable[[NodeProto], list[str]]) -> set[str]:
    """All that reaches one of the nodes through inputs that are `read`.

    What the nodes make is not among them, unless it reaches another.
    """
    ends = {node.output[0] for node in nodes}
    before: set[str] = set()
    for node in reversed(graph.node):
        if not before.isdisjoint(node.output) or not ends.isdisjoint(node.output):
            before.update(read(node))
    return before


def _behind(graph: GraphProto, nodes: Iterable[NodeProto]) -> set[str]:
    """What the nodes make, and all that depends on it."""
    behind = {name for node in nodes for name in node.output}
    for node in graph.node:
        if not behind.isdisjoint(all_inputs(node)):
            behind.update(node.output)
    return behind
