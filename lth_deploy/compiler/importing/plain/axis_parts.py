"""Where the axes of a tensor go when it is reshaped and transposed: each axis as parts that are moved as a whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Part of an axis: it moves along the axis in steps of `stride`, so many as `size`."""

    axis: int
    stride: int
    size: int


Axes = list[list[Part]]
"""For each dimension of a tensor the parts that it is made of, outermost first; none for a size of 1."""


def whole(sizes: Iterable[int]) -> Axes:
    """A tensor as it is."""
    return [[Part(axis, 1, size)] if size > 1 else [] for axis, size in enumerate(sizes)]


def reshaped(axes: Axes, sizes: Sequence[int]) -> Axes | None:
    """The same elements in the same order in other dimensions; None where a part would be cut unevenly."""
    left = [part for parts in axes for part in parts][::-1]
    made: Axes = []
    for size in sizes:
        parts: list[Part] = []
        rest = size
        while rest > 1:
            if not left:
                return None
            part = left.pop()
            if part.size > rest and part.size % rest == 0:
                inner = part.size // rest
                left.append(Part(part.axis, part.stride, inner))
                part = Part(part.axis, part.stride * inner, rest)
            if rest % part.size:
                return None
            parts.append(part)
            rest //= part.size
        made.append(parts)
    return None if left else made


def order_of(axes: Axes, sizes: Sequence[int]) -> list[int] | None:
    """In which order all elements of a tensor of these sizes lie, as a permutation of its axes.

    Axes of size 1 come first. None where an axis is cut.
    """
    flat = [part for parts in axes for part in parts]
    order = [axis for axis, size in enumerate(sizes) if size == 1]
    while flat:
        axis, length = flat[0].axis, sizes[flat[0].axis]
        rest = length
        while rest > 1:
            if not flat or flat[0].axis != axis or flat[0].stride * flat[0].size != rest:
                return None
            rest = flat.pop(0).stride
        order.append(axis)
    return order if sorted(order) == list(range(len(sizes))) else None
