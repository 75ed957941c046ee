"""A layer as a matrix product: its weights as rows, and what they are multiplied by as columns."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """How a layer applies its weights, as ONNX describes it.

    kind: `conv` [O, I / group, ...taps], `transposed` [I, O / group, ...taps], `linear` [O, I], `matmul` [I, O].
    pads: begins, then ends, of each spatial axis; of a transposed convolution what is cut from its output.
    more: output_padding of a transposed convolution. All but `kind` are of convolutions.
    """

    kind: Literal["conv", "transposed", "linear", "matmul"]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    more: tuple[int, ...] = ()
    group: int = 1

    def rows(self, weights: Array) -> Array:
        """The weights as [group, outputs, inputs x taps]; see `columns` for the same order."""
        if self.kind == "matmul":
            weights = weights.T
        elif self.kind == "transposed":
            cut = weights.reshape(self.group, -1, *weights.shape[1:])
            weights = cut.swapaxes(1, 2).reshape(-1, cut.shape[1], *weights.shape[2:])
        rows: Array = weights.reshape(self.group, len(weights) // self.group, -1)
        return rows

    def weights(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The weights of this shape again, from their rows."""
        if self.kind == "matmul":
            rows = rows[0].T
        elif self.kind == "transposed":
            rows = rows.reshape(self.group, shape[1], shape[0] // self.group, *shape[2:]).swapaxes(1, 2)
        weights: Array = rows.reshape(shape)
        return weights

    def taps(self, shape: tuple[int, ...]) -> int:
        """Weights between one input channel and one output channel."""
        return math.prod(shape[2:])


def columns(x: FloatArray, geometry: Geometry, kernel: tuple[int, ...], most: int, seed: int) -> FloatArray:
    """What each weight is multiplied by, at `most` positions of the output: float32 [group, positions, inputs x taps].

    Args:
        x: the layer's input, [N, I, ...space] of convolutions, [..., I] otherwise.
        geometry: how the layer applies its weights.
        kernel: taps along each spatial axis.
        most: positions that are taken, all where there are no more.
        seed: chooses them.
    """
    if geometry.kind in ("linear", "matmul"):
        flat = x.reshape(-1, x.shape[-1])
        return flat[_chosen(len(flat), most, seed)][None]
    windows = _windows(x, geometry, kernel)
    batch, space = windows.shape[0], windows.shape[2 : 2 + len(kernel)]
    chosen = np.unravel_index(_chosen(batch * math.prod(space), most, seed), (batch, *space))
    # Advanced indices with a slice between them come first: [positions, channels, ...taps].
    places: tuple[Any, ...] = (chosen[0], slice(None), *chosen[1:])
    picked = windows[places].reshape(len(chosen[0]), geometry.group, -1)
    return np.ascontiguousarray(picked.swapaxes(0, 1))


def _windows(x: FloatArray, geometry: Geometry, kernel: tuple[int, ...]) -> FloatArray:
    """A view [N, I, ...positions, ...taps] of the padded input."""
    axes = len(kernel)
    begins, ends = list(geometry.pads[:axes]), list(geometry.pads[axes:])
    strides = geometry.strides
    if geometry.kind == "transposed":
        # Its input with zeros between, convolved with the kernel turned round.
        spread = np.zeros(
            (*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True))), x.dtype
        )
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
        reach = [d * (k - 1) for d, k in zip(geometry.dilations, kernel, strict=True)]
        begins = [r - b for r, b in zip(reach, begins, strict=True)]
        ends = [r - e + m for r, e, m in zip(reach, ends, geometry.more, strict=True)]
        x, strides = spread, (1,) * axes
    x = _padded(x, begins, ends)
    reach = [d * (k - 1) + 1 for d, k in zip(geometry.dilations, kernel, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + axes)))
    steps = tuple(slice(None, None, s) for s in strides)
    turned = -1 if geometry.kind == "transposed" else 1
    taps = tuple(slice(None, None, turned * d) for d in geometry.dilations)
    return view[(slice(None), slice(None), *steps, *taps)]


def _padded(x: FloatArray, begins: list[int], ends: list[int]) -> FloatArray:
    """Zeros around the spatial axes; negative counts cut."""
    cut = tuple(slice(max(0, -b), n - max(0, -e)) for b, e, n in zip(begins, ends, x.shape[2:], strict=True))
    more = [(0, 0), (0, 0), *((max(0, b), max(0, e)) for b, e in zip(begins, ends, strict=True))]
    return np.pad(x[(slice(None), slice(None), *cut)], more)


def _chosen(positions: int, most: int, seed: int) -> npt.NDArray[np.intp]:
    if positions <= most:
        return np.arange(positions)
    return np.sort(np.random.default_rng(seed).choice(positions, most, replace=False))
