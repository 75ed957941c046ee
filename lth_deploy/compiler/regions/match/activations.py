"""Small groups of nodes that mean one thing: activations, and padding in front of a pool."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo, attribute
from lth_deploy.compiler.regions.match.region_op import Uses
from lth_deploy.kernels.program.values import Act, Pads

Producers = dict[str, tuple[int, NodeProto]]

LARGEST = 3.40282347e38
"""Bound of a Clip that has none on that side: the largest float32, as nine digits write it."""

_LOWEST_PADDING = -1e38
"""Padding below this never wins a maximum against a finite activation that a detector makes."""


@dataclass(frozen=True)
class Activation:
    """act(source), made by these nodes."""

    nodes: tuple[NodeProto, ...]
    source: str
    act: Act


def activation(node: NodeProto, shapes: TensorInfo, producers: Producers, uses: Uses) -> Activation | None:
    """The activation that a node is, or is the last node of."""
    match node.op_type:
        case "Relu":
            return Activation((node,), node.input[0], Act("relu"))
        case "LeakyRelu":
            return Activation((node,), node.input[0], Act("leaky", (short(attribute(node, "alpha", 0.01)),)))
        case "HardSwish":
            return Activation((node,), node.input[0], Act("hardswish"))
        case "Clip":
            bounds = _clip_bounds(node, shapes)
            return None if bounds is None else Activation((node,), node.input[0], Act("clip", bounds))
        case "Mul":
            return _gated(node, producers, uses)
    return None


def short(number: float) -> float:
    """A float32 as the nine digits of a program write it."""
    return float(f"{number:.9g}")


def _clip_bounds(node: NodeProto, shapes: TensorInfo) -> tuple[float, float] | None:
    bounds = []
    for place, default in ((1, -LARGEST), (2, LARGEST)):
        if len(node.input) <= place or not node.input[place]:
            bounds.append(default)
            continue
        constant = shapes.constant(node.input[place])
        if constant is None or constant.size != 1 or constant.dtype != np.float32 or not np.isfinite(constant).all():
            return None
        bounds.append(short(float(constant.reshape(-1)[0])))
    return (bounds[0], bounds[1]) if bounds[0] <= bounds[1] else None


def _gated(node: NodeProto, producers: Producers, uses: Uses) -> Activation | None:
    """X * sigmoid(x), and x * hardsigmoid(x) with the slope of hard-swish."""
    for source, gate in (tuple(node.input), tuple(reversed(node.input))):
        made = producers.get(gate)
        if made is None or not made[1].input or made[1].input[0] != source or not uses.only(gate):
            continue
        if made[1].op_type == "Sigmoid":
            return Activation((made[1], node), source, Act("silu"))
        slope, shift = attribute(made[1], "alpha", 0.2), attribute(made[1], "beta", 0.5)
        if made[1].op_type == "HardSigmoid" and np.float32(slope) == np.float32(1 / 6) and shift == 0.5:
            return Activation((made[1], node), source, Act("hardswish"))
    return None


def low_padding(node: NodeProto, shapes: TensorInfo) -> Pads | None:
    """Top, left, bottom and right of a Pad of planes with a value so low that no maximum takes it."""
    if node.op_type != "Pad" or attribute(node, "mode", "constant") != "constant" or len(node.input) != 3:
        return None
    pads, value = shapes.constant(node.input[1]), shapes.constant(node.input[2])
    if pads is None or pads.size != 8 or value is None or value.size != 1 or not float(value) <= _LOWEST_PADDING:
        return None
    sides = [int(pad) for pad in pads]
    if any(sides[i] for i in (0, 1, 4, 5)) or min(sides) < 0:
        return None
    return sides[2], sides[3], sides[6], sides[7]
