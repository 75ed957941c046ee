"""Sliding windows over planes, in float64."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.numerics.bounds import Float
from lth_deploy.kernels.program.values import Window

_EXACT_FLOAT32 = 2.0**24
"""Whole numbers up to this are exact in float32, and so are their sums in any order."""


def _out(size: int, before: int, after: int, kernel: int, stride: int, dilation: int) -> int:
    free = size + before + after - dilation * (kernel - 1) - 1
    if free < 0:
        raise ValueError(f"a kernel of {kernel} with dilation {dilation} does not fit a padded side of {free + size}")
    return free // stride + 1


def taps_of(x: npt.NDArray[Any], window: Window, fill: float) -> list[npt.NDArray[Any]]:
    """For each tap of the kernel the plane that it reads, [N, C, OH, OW], with padding of `fill`."""
    top, left, bottom, right = window.pads
    height = _out(x.shape[2], top, bottom, window.kernel[0], window.stride[0], window.dilation[0])
    width = _out(x.shape[3], left, right, window.kernel[1], window.stride[1], window.dilation[1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    planes = []
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            row, column = i * window.dilation[0], j * window.dilation[1]
            rows = slice(row, row + (height - 1) * window.stride[0] + 1, window.stride[0])
            columns = slice(column, column + (width - 1) * window.stride[1] + 1, window.stride[1])
            planes.append(padded[:, :, rows, columns])
    return planes


def convolved(x: Float, weight: Float, window: Window, groups: int, fill: float = 0) -> Float:
    """[N, OC, OH, OW] with padding of `fill`."""
    outputs = weight.shape[0] // groups
    parts = []
    for group, piece in enumerate(np.split(x, groups, axis=1)):
        rows = weight[group * outputs : (group + 1) * outputs].reshape(outputs, piece.shape[1], -1)
        taps = taps_of(piece, window, fill)
        parts.append(sum(np.einsum("oc,nchw->nohw", rows[:, :, k], tap, optimize=True) for k, tap in enumerate(taps)))
    return np.concatenate(parts, axis=1)


def integer_accumulators(x: Float, weight: Float, window: Window, groups: int) -> Float:
    """`convolved` of whole numbers, exactly: in float32 where no partial sum can leave its 24 bits."""
    largest = float(np.abs(x).max(initial=0.0)) * float(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max())
    dtype = np.float32 if largest <= _EXACT_FLOAT32 else np.float64
    outputs = weight.shape[0] // groups
    parts = []
    for group, piece in enumerate(np.split(x, groups, axis=1)):
        rows: npt.NDArray[Any] = weight[group * outputs : (group + 1) * outputs].astype(dtype)
        rows = rows.reshape(outputs, piece.shape[1], -1)
        taps: list[npt.NDArray[Any]] = taps_of(piece.astype(dtype), window, 0)
        total: npt.NDArray[Any] = np.zeros((len(x), outputs, taps[0].shape[2] * taps[0].shape[3]), dtype)
        for k, tap in enumerate(taps):
            used = np.flatnonzero(rows[:, :, k].any(axis=0))
            if used.size:
                total += rows[:, used, k] @ tap[:, used].reshape(len(x), used.size, -1)
        parts.append(total.reshape(len(x), outputs, *taps[0].shape[2:]))
    return np.concatenate(parts, axis=1).astype(np.float64)


def largest(x: Float, window: Window, fill: float) -> Float:
    """Maximum over windows, with padding of `fill`."""
    return np.asarray(np.maximum.reduce(taps_of(x, window, fill)))
