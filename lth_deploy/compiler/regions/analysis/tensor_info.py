"""What is known of the tensors of a graph without running it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, named, of

Shape = tuple[Dim, ...]

SMALL = 64
"""Most elements of a constant that may be a shape, indices or bounds."""


@dataclass
class TensorInfo:
    """What is known of the tensors of a graph; grows with `visit`.

    shapes: by tensor name. values: elements of small integer tensors. constants: small tensors as arrays. equal: for a
    size a simpler one that is equal wherever the graph can be computed, since a Concat joins tensors of both.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    values: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    equal: dict[Dim, Dim] = field(default_factory=dict)

    def simplest(self, shape: Shape) -> Shape:
        """The shape with the simplest of all sizes that are equal, so that shapes can be compared."""
        return tuple(map(self._simplest, shape))

    def _simplest(self, size: Dim) -> Dim:
        while size in self.equal:
            size = self.equal[size]
        return size

    def equate(self, a: Dim, b: Dim) -> None:
        """Note that two sizes are equal wherever the graph can be computed."""
        a, b = sorted((self._simplest(a), self._simplest(b)), key=lambda size: size.complexity)
        if a != b and b.known is None:
            self.equal[b] = a

    def planes(self, name: str, channels: int | None = None) -> Shape:
        """Shape of a tensor that a layer says has rank 4; sizes nobody knows get names of their own."""
        return self._of_rank(name, "NCHW", channels)

    def rows(self, name: str, channels: int | None = None) -> Shape:
        """Shape of a tensor that a layer says has rank 2."""
        return self._of_rank(name, "NC", channels)

    def _of_rank(self, name: str, letters: str, channels: int | None) -> Shape:
        shape = self.shapes.get(name) or tuple(named(f"{name}.{letter}") for letter in letters)
        if channels is not None and len(shape) == len(letters) and shape[1].known is None:
            # The layer would fail on any other number.
            shape = (shape[0], of(channels), *shape[2:])
        self.shapes[name] = shape
        return shape

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """A small constant tensor."""
        return self.constants.get(name)

    def known_values(self, name: str) -> tuple[int, ...] | None:
        """The elements of a small integer tensor, where all of them are known."""
        numbers = [element.known for element in self.values.get(name, (of(0) + named("?"),))]
        return None if None in numbers else tuple(number for number in numbers if number is not None)


def note_constant(info: TensorInfo, name: str, tensor: TensorProto) -> None:
    """Keep a constant tensor if it is small enough to be a shape, indices or bounds."""
    if int(np.prod(tensor.dims, dtype=object)) > SMALL or tensor.data_location == TensorProto.EXTERNAL:
        return
    array = numpy_helper.to_array(tensor)
    info.constants[name] = array
    if array.dtype.kind in "iu" and array.ndim <= 1:
        info.values[name] = tuple(of(int(element)) for element in array.reshape(-1))


def slice_bounds(info: TensorInfo, node: NodeProto) -> tuple[int, int, int] | None:
    """Axis, start and stop of a Slice of one axis with step 1; None for others. They may be negative."""
    defaults = {3: (0,), 4: (1,)}
    found = [
        info.known_values(node.input[i]) if i < len(node.input) and node.input[i] else defaults.get(i)
        for i in range(1, 5)
    ]
    numbers = [values[0] for values in found if values is not None and len(values) == 1]
    if len(numbers) != 4 or numbers[3] != 1:
        return None
    return numbers[2], numbers[0], numbers[1]


def clamped(start: int, stop: int, size: int) -> tuple[int, int]:
    """Bounds of a slice inside a known size."""
    return slice(start, stop).indices(size)[:2]


def channel_axis(shape: Shape) -> int:
    """Where the features of a tensor are: last in rows, [N, C] and [N, T, C], else after the batch."""
    return len(shape) - 1 if len(shape) < 4 else 1


ShapeRule = Callable[[TensorInfo, NodeProto], list[Shape] | None]
"""The shapes of what a node makes; None where they are not known."""
