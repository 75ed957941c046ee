"""Tensors as products and sums: what chains of Mul, Div, Pow and Add compute, in whatever order they are written."""

import math
from collections import Counter
from dataclasses import dataclass

from onnx import NodeProto

from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.kernels.program.values import Act


@dataclass(frozen=True)
class ActivationNodes:
    """act(source), made by these nodes, in graph order."""

    nodes: tuple[NodeProto, ...]
    source: str
    act: Act


DEPTH = 6
"""Nodes of a product that are followed, one behind the other: the chains of exporters have fewer."""

SAME = 1e-6
"""Relative difference that a constant may have from that of a formula: float32 rounds to 6e-8."""


@dataclass(frozen=True)
class Product:
    """factor * the product of tensors, each with its power; made by these nodes."""

    factor: float
    powers: Counter[str]
    nodes: tuple[NodeProto, ...] = ()

    def equals(self, factor: float, *names: str) -> bool:
        """Whether it is factor * the product of these tensors."""
        return math.isclose(self.factor, factor, rel_tol=SAME) and self.powers == Counter(names)


def product(context: MatchContext, name: str, depth: int = DEPTH) -> Product:
    """A tensor as a product of those that it is made of, as far as nothing else reads what its nodes make."""
    constant = scalar(context, name)
    if constant is not None:
        return Product(constant, Counter())
    node = context.producer(name)
    found = product_of(context, node, depth) if node is not None and context.uses.only(name) else None
    return found or Product(1.0, Counter([name]))


def product_of(context: MatchContext, node: NodeProto, depth: int = DEPTH) -> Product | None:
    """What a Mul, a Div by a constant, or a Pow by 2 or 3 makes, as a product."""
    if not depth:
        return None
    if node.op_type == "Mul":
        a, b = (product(context, name, depth - 1) for name in node.input)
        return Product(a.factor * b.factor, a.powers + b.powers, (*a.nodes, *b.nodes, node))
    if node.op_type == "Div":
        a, constant = product(context, node.input[0], depth - 1), scalar(context, node.input[1])
        return Product(a.factor / constant, a.powers, (*a.nodes, node)) if constant else None
    if node.op_type == "Pow":
        a, constant = product(context, node.input[0], depth - 1), scalar(context, node.input[1])
        return None if constant not in (2.0, 3.0) else _power(a, int(constant), node)
    return None


def _power(base: Product, power: int, node: NodeProto) -> Product:
    powers = Counter({name: count * power for name, count in base.powers.items()})
    return Product(base.factor**power, powers, (*base.nodes, node))


def scalar(context: MatchContext, name: str) -> float | None:
    """The value of a constant of one element."""
    constant = None if name in context.weights.overridable else context.info.constant(name)
    return None if constant is None or constant.size != 1 else float(constant.reshape(-1)[0])


def terms_of(context: MatchContext, name: str) -> tuple[Product, Product, tuple[NodeProto, ...]] | None:
    """The terms of an Add whose result has one reader, the one of fewer factors first, and all nodes."""
    node = context.producer(name)
    if node is None or node.op_type != "Add" or not context.uses.only(name):
        return None
    a, b = sorted((product(context, term) for term in node.input), key=lambda term: term.powers.total())
    return a, b, (*a.nodes, *b.nodes, node)


def in_order(context: MatchContext, nodes: tuple[NodeProto, ...]) -> tuple[NodeProto, ...]:
    """Nodes as they stand in the graph."""
    return tuple(sorted(nodes, key=lambda made: context.producers[made.output[0]][0]))


def short(number: float) -> float:
    """A float32 as the nine digits of a program write it."""
    return float(f"{number:.9g}")
