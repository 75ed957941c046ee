"""LayerNormalization as exporters write it out below opset 17: means, a root, a quotient, and factor and shift."""

from dataclasses import dataclass

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.products import in_order, scalar


@dataclass(frozen=True)
class WrittenOut:
    """(x - mean) / sqrt(variance + epsilon) * factor + shift over the features of rows, made by these nodes."""

    nodes: tuple[NodeProto, ...]
    x: str
    factor: str
    shift: str
    epsilon: float


def written_out(context: MatchContext, node: NodeProto) -> WrittenOut | None:
    """What an Add ends; None of others, and where anything else reads what one of its nodes makes."""
    for scaled, shift in _operands(context, node.output[0], "Add"):
        for quotient, factor in _operands(context, scaled, "Mul"):
            found = _normalized(context, quotient) if {shift, factor} <= context.weights.stored.keys() else None
            if found is None:
                continue
            x, epsilon, inner = found
            nodes = in_order(context, (*inner, *_made(context, scaled), node))
            if all(context.read_only_by(one.output[0], nodes) for one in nodes[:-1]):
                return WrittenOut(nodes, x, factor, shift, epsilon)
    return None


def _normalized(context: MatchContext, name: str) -> tuple[str, float, tuple[NodeProto, ...]] | None:
    """The tensor, the epsilon and the nodes of (x - mean) / sqrt(variance + epsilon)."""
    for difference, root in _operands(context, name, "Div")[:1]:
        made = context.producer(root)
        if made is None or made.op_type != "Sqrt":
            continue
        for x, mean in _operands(context, difference, "Sub")[:1]:
            found = _variance(context, made.input[0], difference) if _mean_of(context, mean) == x else None
            if found is not None:
                variance, epsilon = found
                square = str(_mean_of(context, variance))
                inner = (mean, difference, square, variance, made.input[0], root, name)
                return x, epsilon, tuple(one for part in inner for one in _made(context, part))
    return None


def _variance(context: MatchContext, name: str, difference: str) -> tuple[str, float] | None:
    """The mean of the square of a difference, and the epsilon above zero that is added to it."""
    for variance, added in _operands(context, name, "Add"):
        epsilon, square = scalar(context, added), _mean_of(context, variance)
        if epsilon is not None and epsilon > 0 and square is not None and _is_square(context, square, difference):
            return variance, epsilon
    return None


def _made(context: MatchContext, name: str) -> tuple[NodeProto, ...]:
    node = context.producer(name)
    return () if node is None else (node,)


def _operands(context: MatchContext, name: str, operator: str) -> list[tuple[str, str]]:
    """The inputs of the node of this operator that makes a tensor, in both orders; none of other nodes."""
    node = context.producer(name)
    if node is None or node.op_type != operator or len(node.input) != 2:
        return []
    return [(node.input[0], node.input[1]), (node.input[1], node.input[0])]


def _mean_of(context: MatchContext, name: str) -> str | None:
    """What a tensor is the mean of, over the features of each row."""
    node = context.producer(name)
    shape = None if node is None else context.info.shapes.get(node.input[0])
    if node is None or node.op_type != "ReduceMean" or not shape or not attribute(node, "keepdims", 1):
        return None
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1:
        axes = context.info.known_values(node.input[1])
    last = len(shape) in (2, 3) and axes is not None and list(axes) in ([-1], [len(shape) - 1])
    return str(node.input[0]) if last else None


def _is_square(context: MatchContext, name: str, of: str) -> bool:
    node = context.producer(name)
    if node is None or len(node.input) != 2 or node.input[0] != of:
        return False
    if node.op_type == "Mul":
        return bool(node.input[1] == of)
    return node.op_type == "Pow" and scalar(context, node.input[1]) == 2
