"""Nodes, and small groups of them, that are an activation of region programs."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.kernels.program.values import Act

LARGEST = 3.40282347e38
"""Bound of a Clip that has none on that side: the largest float32, as nine digits write it."""


@dataclass(frozen=True)
class ActivationNodes:
    """act(source), made by these nodes, in graph order."""

    nodes: tuple[NodeProto, ...]
    source: str
    act: Act


def activation(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """The activation that a node is, or is the last node of."""
    if node.op_type in SINGLE_NODES:
        act = SINGLE_NODES[node.op_type](context, node)
        return None if act is None else ActivationNodes((node,), node.input[0], act)
    found = (pattern(context, node) for pattern in PATTERNS.get(node.op_type, ()))
    return next((nodes for nodes in found if nodes is not None), None)


def short(number: float) -> float:
    """A float32 as the nine digits of a program write it."""
    return float(f"{number:.9g}")


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


def _gated(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X * sigmoid(x), and x * hardsigmoid(x) with the slope of hard-swish."""
    for source, gate in (tuple(node.input), tuple(reversed(node.input))):
        made = context.producer(gate)
        if made is None or not made.input or made.input[0] != source or not context.uses.only(gate):
            continue
        if made.op_type == "Sigmoid":
            return ActivationNodes((made, node), source, Act("silu"))
        slope, shift = attribute(made, "alpha", 0.2), attribute(made, "beta", 0.5)
        if made.op_type == "HardSigmoid" and np.float32(slope) == np.float32(1 / 6) and shift == 0.5:
            return ActivationNodes((made, node), source, Act("hardswish"))
    return None


_DEPTH = 6
"""Nodes of a product that are followed, one behind the other: the chains of exporters have fewer."""

_SAME = 1e-6
"""Relative difference that a constant may have from that of a formula: float32 rounds to 6e-8."""


@dataclass(frozen=True)
class _Product:
    """factor * the product of tensors, each with its power; made by these nodes."""

    factor: float
    powers: Counter[str]
    nodes: tuple[NodeProto, ...] = ()

    def equals(self, factor: float, *names: str) -> bool:
        """Whether it is factor * the product of these tensors."""
        return math.isclose(self.factor, factor, rel_tol=_SAME) and self.powers == Counter(names)


def _product(context: MatchContext, name: str, depth: int = _DEPTH) -> _Product:
    """A tensor as a product of those that it is made of, as far as nothing else reads what its nodes make."""
    constant = _scalar(context, name)
    if constant is not None:
        return _Product(constant, Counter())
    node = context.producer(name)
    found = _product_of(context, node, depth) if node is not None and context.uses.only(name) else None
    return found or _Product(1.0, Counter([name]))


def _product_of(context: MatchContext, node: NodeProto, depth: int = _DEPTH) -> _Product | None:
    """What a Mul, a Div by a constant, or a Pow by 2 or 3 makes, as a product."""
    if not depth:
        return None
    if node.op_type == "Mul":
        a, b = (_product(context, name, depth - 1) for name in node.input)
        return _Product(a.factor * b.factor, a.powers + b.powers, (*a.nodes, *b.nodes, node))
    if node.op_type == "Div":
        a, constant = _product(context, node.input[0], depth - 1), _scalar(context, node.input[1])
        return _Product(a.factor / constant, a.powers, (*a.nodes, node)) if constant else None
    if node.op_type == "Pow":
        a, constant = _product(context, node.input[0], depth - 1), _scalar(context, node.input[1])
        return None if constant not in (2.0, 3.0) else _power(a, int(constant), node)
    return None


def _power(base: _Product, power: int, node: NodeProto) -> _Product:
    powers = Counter({name: count * power for name, count in base.powers.items()})
    return _Product(base.factor**power, powers, (*base.nodes, node))


def _scalar(context: MatchContext, name: str) -> float | None:
    constant = None if name in context.weights.overridable else context.info.constant(name)
    return None if constant is None or constant.size != 1 else float(constant.reshape(-1)[0])


def _terms(context: MatchContext, name: str) -> tuple[_Product, _Product, tuple[NodeProto, ...]] | None:
    """The terms of an Add whose result has one reader, the one of fewer factors first, and all nodes."""
    node = context.producer(name)
    if node is None or node.op_type != "Add" or not context.uses.only(name):
        return None
    a, b = sorted((_product(context, term) for term in node.input), key=lambda term: term.powers.total())
    return a, b, (*a.nodes, *b.nodes, node)


def _gelu(context: MatchContext, node: NodeProto) -> ActivationNodes | None:
    """X / 2 * (1 + erf(x / sqrt(2))), or with tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)), in any order of factors."""
    whole = _product_of(context, node)
    if whole is None or len(whole.powers) != 2 or not whole.equals(0.5, *whole.powers):
        return None
    for source, gate in itertools.permutations(whole.powers):
        found = _gelu_gate(context, source, gate)
        if found is not None:
            kind, nodes = found
            ordered = sorted((*whole.nodes, *nodes), key=lambda made: context.producers[made.output[0]][0])
            return ActivationNodes(tuple(ordered), source, Act(kind))
    return None


def _gelu_gate(context: MatchContext, source: str, gate: str) -> tuple[str, tuple[NodeProto, ...]] | None:
    """Which GELU has this gate, 1 + erf(...) or 1 + tanh(...) of the source, and the nodes that make it."""
    terms = _terms(context, gate)
    if terms is None or not terms[0].equals(1.0) or not terms[1].equals(1.0, *terms[1].powers):
        return None
    name = next(iter(terms[1].powers), "")
    curve = context.producer(name)
    if curve is None or not context.uses.only(name):
        return None
    inner = _product(context, curve.input[0])
    if curve.op_type == "Erf" and inner.equals(math.sqrt(0.5), source):
        return "gelu", (*inner.nodes, curve, *terms[2])
    cubic = _cubic(context, source, inner) if curve.op_type == "Tanh" else None
    return None if cubic is None else ("gelu_tanh", (*cubic, *inner.nodes, curve, *terms[2]))


def _cubic(context: MatchContext, source: str, inner: _Product) -> tuple[NodeProto, ...] | None:
    """The nodes of x + 0.044715 x^3, or of 1 + 0.044715 x^2 where x is a factor, inside of sqrt(2 / pi) times it."""
    sums = [name for name in inner.powers if name != source]
    if len(sums) != 1 or not inner.equals(math.sqrt(2 / math.pi), *inner.powers):
        return None
    terms, factored = _terms(context, sums[0]), source in inner.powers
    if terms is None or not terms[0].equals(1.0, *([] if factored else [source])):
        return None
    return terms[2] if terms[1].equals(0.044715, *[source] * (2 if factored else 3)) else None


SINGLE_NODES: dict[str, Callable[[MatchContext, NodeProto], Act | None]] = {
    "Relu": lambda context, node: Act("relu"),
    "LeakyRelu": lambda context, node: Act("leaky", (short(attribute(node, "alpha", 0.01)),)),
    "HardSwish": lambda context, node: Act("hardswish"),
    "Clip": _clip,
    "Gelu": lambda context, node: Act("gelu_tanh" if attribute(node, "approximate", "none") == "tanh" else "gelu"),
}
"""Activations that are one node, by its operator."""

PATTERNS: dict[str, tuple[Callable[[MatchContext, NodeProto], ActivationNodes | None], ...]] = {
    "Mul": (_gated, _gelu),
    "Div": (_gelu,),
}
"""Activations that are several nodes, by the operator of the last one."""

LAST_NODES = (*SINGLE_NODES, *PATTERNS)
"""Operators of the last node of an activation."""
