"""Nodes, and small groups of them, that are an activation of region programs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import attribute
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


SINGLE_NODES: dict[str, Callable[[MatchContext, NodeProto], Act | None]] = {
    "Relu": lambda context, node: Act("relu"),
    "LeakyRelu": lambda context, node: Act("leaky", (short(attribute(node, "alpha", 0.01)),)),
    "HardSwish": lambda context, node: Act("hardswish"),
    "Clip": _clip,
}
"""Activations that are one node, by its operator."""

PATTERNS: dict[str, tuple[Callable[[MatchContext, NodeProto], ActivationNodes | None], ...]] = {"Mul": (_gated,)}
"""Activations that are several nodes, by the operator of the last one."""

LAST_NODES = (*SINGLE_NODES, *PATTERNS)
"""Operators of the last node of an activation."""
