"""Nodes, and small groups of them, that are an activation of region programs."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.gates import gated, hard_sigmoid, hard_swish
from lth_deploy.compiler.regions.match.linear import divided, linear
from lth_deploy.compiler.regions.match.products import (
    ActivationNodes,
    Product,
    in_order,
    product,
    product_of,
    short,
    terms_of,
)
from lth_deploy.kernels.program.values import Act

LARGEST = 3.40282347e38
"""Bound of a Clip that has none on that side: the largest float32, as nine digits write it."""


def activation(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """The activation that a node is, or is the last node of."""
    if node.op_type in SINGLE_NODES:
        act = SINGLE_NODES[node.op_type](context, node)
        return None if act is None else ActivationNodes((node,), node.input[0], act)
    found = (pattern(context, node) for pattern in PATTERNS.get(node.op_type, ()))
    return next((nodes for nodes in found if nodes is not None), None)


def _clip(context: MatchContext, node: NodeProto) -> Act | None:
    bounds = []
    for place, default in ((1, -LARGEST), (2, LARGEST)):
        if len(node.input) <= place or not node.input[place]:
            bounds.append(default)
            continue
        constant = context.info.constant(node.input[place])
        if constant is None or constant.size != 1 or constant.dtype != np.float32 or not np.isfinite(constant).all():
            return None
        bounds.append(short(float(constant.reshape(-1)[0])))
    return Act("clip", (bounds[0], bounds[1])) if bounds[0] <= bounds[1] else None


def _gelu(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X / 2 * (1 + erf(x / sqrt(2))), or with tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)), in any order of factors."""
    whole = product_of(context, node)
    if whole is None or len(whole.powers) != 2 or not whole.equals(0.5, *whole.powers):
        return None
    for source, gate in itertools.permutations(whole.powers):
        found = _gelu_gate(context, source, gate)
        if found is not None:
            kind, nodes = found
            return ActivationNodes(in_order(context, (*whole.nodes, *nodes)), source, Act(kind))
    return None


def _gelu_gate(context: MatchContext, source: str, gate: str) -> tuple[str, tuple[NodeProto, ...]] | None:
    """Which GELU has this gate, 1 + erf(...) or 1 + tanh(...) of the source, and the nodes that make it."""
    terms = terms_of(context, gate)
    if terms is None or not terms[0].equals(1.0) or not terms[1].equals(1.0, *terms[1].powers):
        return None
    name = next(iter(terms[1].powers), "")
    curve = context.producer(name)
    if curve is None or not context.uses.only(name):
        return None
    inner = product(context, curve.input[0])
    if curve.op_type == "Erf" and inner.equals(math.sqrt(0.5), source):
        return "gelu", (*inner.nodes, curve, *terms[2])
    cubic = _cubic(context, source, inner) if curve.op_type == "Tanh" else None
    return None if cubic is None else ("gelu_tanh", (*cubic, *inner.nodes, curve, *terms[2]))


def _cubic(context: MatchContext, source: str, inner: Product) -> tuple[NodeProto, ...] | None:
    """The nodes of x + 0.044715 x^3, or of 1 + 0.044715 x^2 where x is a factor, inside of sqrt(2 / pi) times it."""
    sums = [name for name in inner.powers if name != source]
    if len(sums) != 1 or not inner.equals(math.sqrt(2 / math.pi), *inner.powers):
        return None
    terms, factored = terms_of(context, sums[0]), source in inner.powers
    if terms is None or not terms[0].equals(1.0, *([] if factored else [source])):
        return None
    return terms[2] if terms[1].equals(0.044715, *[source] * (2 if factored else 3)) else None


SINGLE_NODES: dict[str, Callable[[MatchContext, NodeProto], Act | None]] = {
    "Relu": lambda context, node: Act("relu"),
    "LeakyRelu": lambda context, node: Act("leaky", (short(attribute(node, "alpha", 0.01)),)),
    "HardSwish": lambda context, node: Act("hardswish"),
    "Clip": _clip,
    "Gelu": lambda context, node: Act("gelu_tanh" if attribute(node, "approximate", "none") == "tanh" else "gelu"),
    "Sigmoid": lambda context, node: Act("sigmoid"),
    "HardSigmoid": lambda context, node: Act(
        "hardsigmoid", (short(attribute(node, "alpha", 0.2)), short(attribute(node, "beta", 0.5)))
    ),
    "Tanh": lambda context, node: Act("tanh"),
    "Exp": lambda context, node: Act("exp"),
    "Mish": lambda context, node: Act("mish"),
    "Elu": lambda context, node: Act("elu", (short(attribute(node, "alpha", 1.0)),)),
}
"""Activations that are one node, by its operator."""

PATTERNS: dict[str, tuple[Callable[[MatchContext, NodeProto], ActivationNodes | None], ...]] = {
    "Mul": (gated, hard_swish, hard_sigmoid, _gelu, linear),
    "Div": (hard_swish, hard_sigmoid, _gelu, divided),
    "Add": (linear,),
    "Sub": (linear,),
}
"""Activations that are several nodes or have a constant, by the operator of the last one; the first that fits."""

LAST_NODES = (*SINGLE_NODES, "Div")
"""Operators that are nothing but the last node of an activation."""
