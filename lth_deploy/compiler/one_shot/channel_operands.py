"""Arithmetic with a constant: what it makes of channels that are zero."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from lth_deploy.compiler.one_shot.channel_places import Place
from lth_deploy.compiler.one_shot.channel_rules import Makers, Tensors, constant

Array = npt.NDArray[Any]

_ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
}


@dataclass(frozen=True)
class Operand:
    """The constant of a node, and what the node makes with it of a zero.

    data: the other input. place: that of the constant among the inputs. made: has the shape of the constant.
    """

    data: str
    place: int
    constant: Array
    made: Array

    @property
    def is_number(self) -> bool:
        """Whether all channels meet the same number."""
        return self.made.size == 1

    def zeros_of(self, place: Place, channels: int) -> npt.NDArray[np.bool_] | None:
        """Which channels are zero behind the node if they are before it; None where it is no operand of channels."""
        if not place.fits(self.made.shape, channels):
            return None
        return np.broadcast_to(self.made.reshape(-1) == 0, (channels,)).copy()

    def without(self, gone: npt.NDArray[np.bool_]) -> Array:
        """The constant of what is left, which has a number for each channel."""
        return np.compress(~gone, self.constant, self.constant.shape.index(len(gone)))


def operand_of(node: NodeProto, makers: Makers, tensors: Tensors) -> Operand | None:
    """The constant of a node that computes with one and a value; None of other nodes, and where zero has no result."""
    if node.domain or node.op_type not in _ARITHMETIC or len(node.input) != 2:
        return None
    known = [constant(name, makers, tensors) for name in node.input]
    place = next((number for number, one in enumerate(known) if one is not None), 0)
    other, array = node.input[1 - place], known[place]
    if array is None or known[1 - place] is not None or (node.op_type == "Pow" and place == 0):
        return None
    zero, compute = np.float32(0), _ARITHMETIC[node.op_type]
    with np.errstate(all="ignore"):
        made = np.asarray(compute(zero, array) if place else compute(array, zero))
    return Operand(other, place, array, made) if np.isfinite(made).all() else None
