"""Nodes with a constant of one element: a factor and a shift of all that a tensor holds, and quotients by a number."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.products import ActivationNodes, in_order, product, scalar, short
from lth_deploy.kernels.program.values import Act


@dataclass(frozen=True)
class Line:
    """source * factor + shift, made by these nodes."""

    source: str
    factor: float = 1.0
    shift: float = 0.0
    nodes: tuple[NodeProto, ...] = ()


def line_of(context: MatchContext, name: str) -> Line:
    """What a tensor is of another one, as far as nothing else reads what its nodes make."""
    node = context.producer(name)
    if node is None or not context.uses.only(name):
        return Line(name)
    if node.op_type in ("Add", "Sub"):
        return _shifted(context, node) or Line(name)
    return _scaled(context, name)


def _scaled(context: MatchContext, name: str) -> Line:
    whole = product(context, name)
    if list(whole.powers.values()) != [1]:
        return Line(name)
    (source,) = whole.powers
    return Line(source, whole.factor, 0.0, whole.nodes)


def _shifted(context: MatchContext, node: NodeProto) -> Line | None:
    """Of an Add or a Sub with a constant."""
    first, second = (scalar(context, name) for name in node.input)
    if (first is None) == (second is None):
        return None
    line = _scaled(context, node.input[0 if first is None else 1])
    sign = -1.0 if node.op_type == "Sub" else 1.0
    if first is None:
        assert second is not None
        return Line(line.source, line.factor, sign * second, (*line.nodes, node))
    return Line(line.source, sign * line.factor, first, (*line.nodes, node))


def linear(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X * factor + shift, of which either may be missing, and the ReLU before it (learnable affine block, PP-LCNetV3).

    A quotient inside is none: it would be rounded otherwise.
    """
    if node.op_type == "Mul":
        constants = [scalar(context, name) for name in node.input]
        if (constants[0] is None) == (constants[1] is None):
            return None
        place = 0 if constants[0] is None else 1
        factor = constants[1 - place]
        assert factor is not None
        line: Line | None = Line(node.input[place], factor, 0.0, (node,))
    else:
        line = _shifted(context, node)
        if line is not None and any(made.op_type != "Mul" for made in line.nodes[:-1]):
            first = scalar(context, node.input[0])
            line = Line(
                node.input[0 if first is None else 1],
                -1.0 if first is not None and node.op_type == "Sub" else 1.0,
                line.shift,
                (node,),
            )
    if line is None or not _keeps_shape(context, line.source, node) or not np.isfinite([line.factor, line.shift]).all():
        return None
    numbers = _number(line.factor), _number(line.shift)
    relu = context.producer(line.source)
    if relu is not None and relu.op_type == "Relu" and context.uses.only(line.source):
        nodes = (relu, *line.nodes)
        return ActivationNodes(in_order(context, nodes), relu.input[0], Act("relu_linear", numbers))
    return ActivationNodes(in_order(context, line.nodes), line.source, Act("linear", numbers))


def divided(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X / divisor."""
    divisor = scalar(context, node.input[1])
    if not divisor or not np.isfinite(divisor) or not _keeps_shape(context, node.input[0], node):
        return None
    return ActivationNodes((node,), node.input[0], Act("quotient", (_number(divisor),)))


def _number(value: float) -> float:
    return short(float(np.float32(value)))


def _keeps_shape(context: MatchContext, source: str, node: NodeProto) -> bool:
    """Whether a constant does not add dimensions."""
    shapes = context.info.shapes
    return source in shapes and shapes.get(node.output[0]) == shapes[source]
