"""Gates: sigmoid, hard-sigmoid and their products with what they are made of, as exporters write them."""

import itertools
import math

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.linear import Line, line_of
from lth_deploy.compiler.regions.match.products import (
    SAME,
    ActivationNodes,
    in_order,
    product_of,
    scalar,
    short,
    terms_of,
)
from lth_deploy.kernels.program.values import Act


def gated(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X * sigmoid(x) and x * tanh(softplus(x))."""
    for source, gate in (tuple(node.input), tuple(reversed(node.input))):
        made = context.producer(gate)
        if made is None or not made.input or not context.uses.only(gate):
            continue
        if made.op_type == "Sigmoid" and made.input[0] == source:
            return ActivationNodes((made, node), source, Act("silu"))
        inner = _softplus(context, source, made.input[0]) if made.op_type == "Tanh" else None
        if inner is not None:
            return ActivationNodes(in_order(context, (*inner, made, node)), source, Act("mish"))
    return None


def _softplus(context: MatchContext, source: str, name: str) -> tuple[NodeProto, ...] | None:
    """The nodes of log(1 + exp(source)), whose result has one reader."""
    made = context.producer(name)
    if made is None or not context.uses.only(name):
        return None
    if made.op_type == "Softplus":
        return (made,) if made.input[0] == source else None
    terms = terms_of(context, made.input[0]) if made.op_type == "Log" else None
    if terms is None or not terms[0].equals(1.0) or not terms[1].equals(1.0, *terms[1].powers):
        return None
    (power,) = terms[1].powers
    grown = context.producer(power)
    if grown is None or grown.op_type != "Exp" or grown.input[0] != source or not context.uses.only(power):
        return None
    return (grown, *terms[2], made)


def hard_swish(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X * clip(x / 6 + 1 / 2, 0, 1), with the factor of 6 at any place."""
    whole = product_of(context, node)
    if whole is None or len(whole.powers) != 2 or set(whole.powers.values()) != {1}:
        return None
    for source, gate in itertools.permutations(whole.powers):
        found = _ramp(context, gate, whole.factor)
        if found is None or found[0].source != source:
            continue
        ramp, nodes = found
        if math.isclose(ramp.factor, 1 / 6, rel_tol=SAME) and math.isclose(ramp.shift, 0.5, rel_tol=SAME):
            return ActivationNodes(in_order(context, (*nodes, *whole.nodes)), source, Act("hardswish"))
    return None


def hard_sigmoid(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """Clip(x + 3, 0, 6) / 6 and the like: a multiple of a Clip of a line that reaches from 0 to 1."""
    whole = product_of(context, node)
    if whole is None or list(whole.powers.values()) != [1]:
        return None
    (gate,) = whole.powers
    made = context.producer(gate)
    found = _ramp(context, gate, whole.factor) if made is not None and made.op_type == "Clip" else None
    if found is None:
        return None
    ramp, nodes = found
    act = Act("hardsigmoid", (short(ramp.factor), short(ramp.shift)))
    return ActivationNodes(in_order(context, (*nodes, *whole.nodes)), ramp.source, act)


def _ramp(context: MatchContext, gate: str, times: float) -> tuple[Line, tuple[NodeProto, ...]] | None:
    """The line that is cut off at 0 and 1 to make `times` the gate, and the nodes of both."""
    made = context.producer(gate)
    if made is None or not context.uses.only(gate):
        return None
    if made.op_type == "HardSigmoid" and math.isclose(times, 1.0, rel_tol=SAME):
        return Line(made.input[0], attribute(made, "alpha", 0.2), attribute(made, "beta", 0.5)), (made,)
    if made.op_type != "Clip" or len(made.input) != 3:
        return None
    low, high = scalar(context, made.input[1]), scalar(context, made.input[2])
    if low != 0.0 or high is None or not math.isclose(high * times, 1.0, rel_tol=SAME):
        return None
    line = line_of(context, made.input[0])
    return Line(line.source, line.factor * times, line.shift * times), (*line.nodes, made)
