"""Operators that compute scale * x + shift with constants for each channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, standard
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift. scale, shift: float64 [C], finite."""

    scale: FloatArray
    shift: FloatArray

    @classmethod
    def identity(cls, channels: int) -> "Affine":
        """The one that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    def then(self, later: "Affine") -> "Affine":
        """What both compute, one after the other."""
        return Affine(later.scale * self.scale, later.scale * self.shift + later.shift)

    @property
    def shifts(self) -> bool:
        """Whether it adds something."""
        return bool(self.shift.any())

    @property
    def finite(self) -> bool:
        """Whether all its numbers are finite."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


@dataclass(frozen=True)
class Channels:
    """What is known of the value that is scaled. axis: that of its channels, counted from the front."""

    count: int
    rank: int
    axis: int


def may_be_affine(node: NodeProto) -> bool:
    """Whether its operator may scale or shift channels."""
    return bool(traits_of(node.op_type).folded_as) and standard(node, node.op_type)


def affine_of(graph: MainGraph, node: NodeProto, name: str, channels: Channels) -> Affine | None:
    """What a node does to each channel of the value `name`, which it reads; None where it does something else.

    A constant that would make the value larger, or whose sizes stand at other axes than that of the channels, is
    something else.
    """
    if len([one for one in node.output if one]) != 1:
        return None
    affine = None
    if standard(node, "BatchNormalization") and node.input[0] == name:
        affine = _batch_norm(graph, node, channels)
    elif may_be_affine(node) and len(node.input) == 2:
        affine = _elementwise(graph, node, name, channels)
    return affine if affine is not None and affine.finite else None


def _batch_norm(graph: MainGraph, node: NodeProto, channels: Channels) -> Affine | None:
    if attribute(node, "training_mode", 0) or channels.axis != 1 or len(node.input) != 5:
        return None
    found = [graph.floats(one) for one in node.input[1:]]
    if any(one is None or one.shape != (channels.count,) for one in found):
        return None
    scale, shift, mean, variance = (np.asarray(one, np.float64) for one in found)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))
        return Affine(factor, shift - factor * mean)


def _elementwise(graph: MainGraph, node: NodeProto, name: str, channels: Channels) -> Affine | None:
    first, second = node.input
    if first == second:
        return None
    constant = graph.floats(second if first == name else first)
    values = None if constant is None else _per_channel(constant, channels)
    if values is None:
        return None
    ones, zeros = np.ones(channels.count), np.zeros(channels.count)
    with np.errstate(all="ignore"):
        if node.op_type == "Mul":
            return Affine(values, zeros)
        if node.op_type == "Add":
            return Affine(ones, values)
        if node.op_type == "Sub":
            return Affine(ones, -values) if first == name else Affine(-ones, values)
        return Affine(1 / values, zeros) if first == name else None


def _per_channel(constant: Array, channels: Channels) -> FloatArray | None:
    """A constant as one value a channel; None where it is none."""
    if constant.ndim > channels.rank:
        return None
    dims = (1,) * (channels.rank - constant.ndim) + constant.shape
    others = [size for axis, size in enumerate(dims) if axis != channels.axis]
    if any(size != 1 for size in others) or dims[channels.axis] not in (1, channels.count):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels.count,)).copy()
