"""Operations on planes in float64, and bounds of what float32 arithmetic may make of them.

The bounds are forward error bounds for any order of summation: with u = 2**-24 and
g(n) = n u / (1 - n u), a sum of n float32 products is off by at most g(n) times the sum of their magnitudes
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), on top of what errors of its terms add.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.instructions import Act, Linear, Quantized, Window

Float = npt.NDArray[np.float64]

UNIT = 2.0**-24
"""Largest relative error of one rounding to float32."""

SMALLEST = 2.0**-126
"""Below this a float32 result may be off by an absolute error, or be flushed to zero."""

_EXACT_FLOAT32 = 2.0**24
"""Whole numbers up to this are exact in float32, and so are their sums in any order."""

_TRANSCENDENTAL = 64
"""Roundings that the kernels' exponential and division may cost together."""


@dataclass(frozen=True)
class Tensor:
    """Exact values [N, C, H, W], and for each the largest error that a kernel's result may have.

    quantized: of bytes; the values are the bytes, the bound counts their steps. None for float32.
    """

    value: Float
    bound: Float
    quantized: Quantized | None = None


def gamma(terms: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    """Relative error of a sum of so many products."""
    return np.asarray(terms * UNIT / (1 - terms * UNIT), np.float64)


def column(per_channel: Float) -> Float:
    """[C] as [C, 1, 1]."""
    return per_channel[:, None, None]


def _out(size: int, before: int, after: int, kernel: int, stride: int, dilation: int) -> int:
    free = size + before + after - dilation * (kernel - 1) - 1
    if free < 0:
        raise ValueError(f"a kernel of {kernel} with dilation {dilation} does not fit a padded side of {free + size}")
    return free // stride + 1


def _taps(x: npt.NDArray[Any], window: Window, fill: float) -> list[npt.NDArray[Any]]:
    """For each tap of the kernel the plane that it reads, [N, C, OH, OW]."""
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
        taps = _taps(piece, window, fill)
        parts.append(sum(np.einsum("oc,nchw->nohw", rows[:, :, k], tap, optimize=True) for k, tap in enumerate(taps)))
    return np.concatenate(parts, axis=1)


def integer_sums(x: Float, weight: Float, window: Window, groups: int) -> Float:
    """`convolved` of whole numbers, exactly: in float32 where no partial sum can leave its 24 bits."""
    largest = float(np.abs(x).max(initial=0.0)) * float(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max())
    dtype = np.float32 if largest <= _EXACT_FLOAT32 else np.float64
    outputs = weight.shape[0] // groups
    parts = []
    for group, piece in enumerate(np.split(x, groups, axis=1)):
        rows: npt.NDArray[Any] = weight[group * outputs : (group + 1) * outputs].astype(dtype)
        rows = rows.reshape(outputs, piece.shape[1], -1)
        taps: list[npt.NDArray[Any]] = _taps(piece.astype(dtype), window, 0)
        total: npt.NDArray[Any] = np.zeros((len(x), outputs, taps[0].shape[2] * taps[0].shape[3]), dtype)
        for k, tap in enumerate(taps):
            used = np.flatnonzero(rows[:, :, k].any(axis=0))
            if used.size:
                total += rows[:, used, k] @ tap[:, used].reshape(len(x), used.size, -1)
        parts.append(total.reshape(len(x), outputs, *taps[0].shape[2:]))
    return np.concatenate(parts, axis=1).astype(np.float64)


def spread_out(x: Float, weight: Float) -> Float:
    """Transposed convolution whose stride is its kernel."""
    count, _, height, width = x.shape
    _, outputs, rows, columns = weight.shape
    blocks = np.einsum("nchw,coij->nohiwj", x, weight, optimize=True)
    return np.asarray(blocks.reshape(count, outputs, height * rows, width * columns))


def pooled(x: Float, window: Window, fill: float) -> Float:
    """Maximum over windows, outside of the image `fill`."""
    return np.asarray(np.maximum.reduce(_taps(x, window, fill)))


def nearest(x: Float, plane: tuple[int, ...]) -> Float:
    """Nearest neighbors: source index = floor(i * in / out)."""
    height, width = plane
    rows = np.arange(height) * x.shape[2] // height
    columns = np.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


def interpolated(x: Tensor, plane: tuple[int, ...], how: Linear) -> Tensor:
    """Bilinear means; every weight costs a rounding, as do the product and the sum, in each direction."""
    rows, columns = (_blend(x.value.shape[2 + i], plane[i], how) for i in (0, 1))
    value, size, spread = (rows @ part @ columns.T for part in (x.value, np.abs(x.value) + x.bound, x.bound))
    return Tensor(value, spread + gamma(np.float64(6)) * size + SMALLEST)


def _blend(source: int, made: int, how: Linear) -> Float:
    """[made, source]: what every pixel of one direction takes of each pixel of the source."""
    index = np.arange(made, dtype=np.float64)
    at = (index + 0.5) * source / made - 0.5 if how == "half_pixel" else index * source / made
    at = np.clip(at, 0, source - 1)
    first = np.floor(at).astype(np.int64)
    weights = np.zeros((made, source))
    np.add.at(weights, (np.arange(made), first), 1 - (at - first))
    np.add.at(weights, (np.arange(made), np.minimum(first + 1, source - 1)), at - first)
    return weights


def same_shape(a: Float, b: Float) -> None:
    """Hold two operands to one shape.

    Raises:
        ValueError: they differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"the shapes {list(a.shape)} and {list(b.shape)} cannot be added")


def added(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two tensors of one shape."""
    same_shape(a.value, b.value)
    value, spread = a.value + b.value, a.bound + b.bound
    return Tensor(value, spread + UNIT * (np.abs(value) + spread) + SMALLEST)


def activated(x: Tensor, act: Act) -> Tensor:
    """Every activation but none and relu costs roundings of its own; none stretches an error by more than its slope."""
    value, bound = x.value, x.bound
    size = np.abs(value) + bound
    match act.kind:
        case "none":
            return x
        case "relu":
            return Tensor(np.maximum(value, 0), bound)
        case "leaky":
            slope = float(np.float32(act.numbers[0]))
            stretched = bound * max(1.0, abs(slope)) + UNIT * size * abs(slope)
            return Tensor(np.where(value < 0, slope * value, value), stretched + SMALLEST)
        case "clip":
            low, high = (float(np.float32(number)) for number in act.numbers)
            return Tensor(np.clip(value, low, high), bound)
        case "silu":
            return Tensor(value * _sigmoid(value), 1.1 * bound + _TRANSCENDENTAL * UNIT * size + SMALLEST)
        case "hardswish":
            gate = np.clip(value / 6 + 0.5, 0, 1)
            return Tensor(value * gate, 1.5 * bound + 8 * UNIT * size + SMALLEST)


def _sigmoid(value: Float) -> Float:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * value)))
