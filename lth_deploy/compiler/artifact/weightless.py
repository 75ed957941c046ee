"""Operators that multiply by weights elsewhere, but have none here that could be packed, and why."""

from collections import Counter

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import weight_users
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes

_NAMED = 4


def weightless_notes(model: ModelProto) -> list[str]:
    """One clause for each reason, with the nodes that it is about; without any layer, why there is none.

    model: a normalized one.
    """
    stored = stored_weights(model)
    listed = {(node.op_type, *node.output) for node, _ in weight_users(model, stored)}
    found: dict[tuple[str, str], list[str]] = {}
    origin = _Origin(model, set(stored))
    for node in all_nodes(model.graph):
        if traits_of(node.op_type).has_weight and (node.op_type, *node.output) not in listed:
            found.setdefault((node.op_type, origin.reason(node)), []).append(_name(node))
    for function in model.functions:
        if function.domain != DOMAIN:
            reason = f"inside the function {function.name}, whose operators are of another opset than the model's"
            for node in function.node:
                if traits_of(node.op_type).has_weight:
                    found.setdefault((node.op_type, reason), []).append(_name(node))
    notes = []
    for (operator, reason), names in found.items():
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        notes.append(f"{len(names)} {operator} without a row: {reason} ({shown})")
    if not listed and not notes:
        most = ", ".join(name for name, _ in Counter(node.op_type for node in all_nodes(model.graph)).most_common(4))
        layers = "Conv, ConvTranspose, Gemm or MatMul"
        notes.append(f"no layer is listed because the graph has no {layers} node; most of its nodes are {most}")
    return notes


class _Origin:
    """Where the values of a model come from."""

    def __init__(self, model: ModelProto, stored: set[str]) -> None:
        self._stored = stored
        self._makers = {name: node for node in all_nodes(model.graph) for name in node.output}
        constants = stored | {tensor.name for graph in all_graphs(model.graph) for tensor in graph.initializer}
        self._inner = constants - stored
        self._varies = {value.name for graph in all_graphs(model.graph) for value in graph.input} - stored
        for node in all_nodes(model.graph):
            if any(name in self._varies for name in node.input) or any(one.HasField("g") for one in node.attribute):
                self._varies.update(node.output)

    def reason(self, node: NodeProto) -> str:
        """Why a node has no weight that could be packed."""
        place = traits_of(node.op_type).weight_input
        name = node.input[place] if place is not None and place < len(node.input) else ""
        if "MatMul" in node.op_type and node.input[0] in self._stored:
            return "its constant is the left factor"
        if name in self._stored:
            return "its weight has fewer than two axes"
        if name in self._inner:
            return "its weight is a small constant inside a loop or branch"
        maker = self._makers.get(name)
        if name in self._varies:
            both = "it multiplies two activations" if "MatMul" in node.op_type else "its weight follows from an input"
            return both if maker is not None else "its weight is an input of the graph"
        return f"its weight is computed in the graph by {maker.op_type if maker is not None else 'no node'}"


def _name(node: NodeProto) -> str:
    return str(node.name or (node.output[0] if node.output else ""))
