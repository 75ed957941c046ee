"""The oracle: what a region program computes, in float64, and how far a float32 kernel may be from it.

Slow and plain on purpose. The bounds are forward error bounds for any order of summation: with u = 2**-24 and
g(n) = n u / (1 - n u), a sum of n float32 products is off by at most g(n) times the sum of their magnitudes
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), on top of what errors of its terms add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.instructions import (
    Act,
    Activate,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Instruction,
    Load,
    MaxPool,
    Program,
    Resize,
    Slice,
    Window,
)

Float = npt.NDArray[np.float64]
AnyFloat = npt.NDArray[np.floating]

UNIT = 2.0**-24
"""Largest relative error of one rounding to float32."""

SMALLEST = 2.0**-126
"""Below this a float32 result may be off by an absolute error, or be flushed to zero."""

_TRANSCENDENTAL = 64
"""Roundings that the kernels' exponential and division may cost together."""


@dataclass(frozen=True)
class Tensor:
    """Exact values [N, C, H, W], and for each the largest error that a float32 result may have."""

    value: Float
    bound: Float


def run(program: Program, weights: Sequence[AnyFloat], inputs: Sequence[AnyFloat]) -> list[Float]:
    """Outputs of a checked program; weights in the order of the program, decoded and in their dims.

    Raises:
        ArtifactError: an input does not fit the program.
    """
    return [tensor.value for tensor in run_bounded(program, weights, inputs)]


def run_bounded(program: Program, weights: Sequence[AnyFloat], inputs: Sequence[AnyFloat]) -> list[Tensor]:
    """Outputs with the error bound of each element; see `run`."""
    wide = [np.asarray(weight, np.float64) for weight in weights]
    made: list[Tensor] = []
    for number, step in enumerate(program.instructions):
        try:
            made.append(_step(step, made, wide, inputs))
        except ValueError as error:
            raise ArtifactError(f"region, t{number}: {error}") from error
    outputs = [(made[output.tensor], output.rows) for output in program.outputs]
    return [_as_rows(tensor) if rows else tensor for tensor, rows in outputs]


def _as_rows(tensor: Tensor) -> Tensor:
    return Tensor(tensor.value[:, :, 0, 0], tensor.bound[:, :, 0, 0])


def _step(step: Instruction, made: list[Tensor], weights: list[Float], inputs: Sequence[AnyFloat]) -> Tensor:
    match step:
        case Load():
            return _load(step, inputs[step.source])
        case Conv():
            return _conv(step, made, weights)
        case ConvTranspose():
            return _conv_transpose(step, made[step.x], weights)
        case MaxPool():
            return Tensor(
                _pooled(made[step.x].value, step.window, -np.inf), _pooled(made[step.x].bound, step.window, 0)
            )
        case Resize():
            plane = made[step.like].value.shape[2:]
            return Tensor(_nearest(made[step.x].value, plane), _nearest(made[step.x].bound, plane))
        case Add():
            return _activated(_added(made[step.a], made[step.b]), step.act)
        case Activate():
            return _activated(made[step.x], step.act)
        case Concat():
            parts = [made[part] for part in step.parts]
            return Tensor(np.concatenate([p.value for p in parts], 1), np.concatenate([p.bound for p in parts], 1))
        case Slice():
            x, channels = made[step.x], slice(step.start, step.stop)
            return Tensor(x.value[:, channels], x.bound[:, channels])


def _load(step: Load, given: AnyFloat) -> Tensor:
    value = np.asarray(given, np.float64)
    if value.ndim != (2 if step.rows else 4) or value.shape[1] != step.channels:
        raise ValueError(f"input {step.source} has the shape {list(value.shape)}, {step.channels} channels are needed")
    value = value.reshape(value.shape[0], step.channels, *(value.shape[2:] or (1, 1)))
    return Tensor(value, np.zeros_like(value))


def _conv(step: Conv, made: list[Tensor], weights: list[Float]) -> Tensor:
    x, weight = made[step.x], weights[step.weight]
    weight = weight.reshape(*weight.shape, *(1, 1)[: 4 - weight.ndim])
    value = _convolved(x.value, weight, step.window, step.groups)
    size = _convolved(np.abs(x.value) + x.bound, np.abs(weight), step.window, step.groups)
    spread = _convolved(x.bound, np.abs(weight), step.window, step.groups)
    terms = np.count_nonzero(weight.reshape(weight.shape[0], -1), axis=1).astype(np.float64)
    if step.bias is not None:
        value = value + _column(weights[step.bias])
        size, terms = size + np.abs(_column(weights[step.bias])), terms + 1
    if step.add is not None:
        added = made[step.add]
        _same_shape(value, added.value)
        value, spread = value + added.value, spread + added.bound
        size, terms = size + np.abs(added.value) + added.bound, terms + 1
    return _activated(Tensor(value, spread + _column(_gamma(terms + 1)) * size + SMALLEST), step.act)


def _conv_transpose(step: ConvTranspose, x: Tensor, weights: list[Float]) -> Tensor:
    weight = weights[step.weight]
    value = _spread_out(x.value, weight)
    size = _spread_out(np.abs(x.value) + x.bound, np.abs(weight))
    spread = _spread_out(x.bound, np.abs(weight))
    if step.bias is not None:
        bias = _column(weights[step.bias])
        value, size = value + bias, size + np.abs(bias)
    gamma = _gamma(np.float64(weight.shape[0] + 2))
    return _activated(Tensor(value, spread + gamma * size + SMALLEST), step.act)


def _gamma(terms: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    return np.asarray(terms * UNIT / (1 - terms * UNIT), np.float64)


def _column(per_channel: Float) -> Float:
    return per_channel[:, None, None]


def _out(size: int, before: int, after: int, kernel: int, stride: int, dilation: int) -> int:
    free = size + before + after - dilation * (kernel - 1) - 1
    if free < 0:
        raise ValueError(f"a kernel of {kernel} with dilation {dilation} does not fit a padded side of {free + size}")
    return free // stride + 1


def _taps(x: Float, window: Window, fill: float) -> list[Float]:
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


def _convolved(x: Float, weight: Float, window: Window, groups: int) -> Float:
    outputs = weight.shape[0] // groups
    parts = []
    for group, piece in enumerate(np.split(x, groups, axis=1)):
        rows = weight[group * outputs : (group + 1) * outputs].reshape(outputs, piece.shape[1], -1)
        taps = _taps(piece, window, 0.0)
        parts.append(sum(np.einsum("oc,nchw->nohw", rows[:, :, k], tap, optimize=True) for k, tap in enumerate(taps)))
    return np.concatenate(parts, axis=1)


def _spread_out(x: Float, weight: Float) -> Float:
    count, _, height, width = x.shape
    _, outputs, rows, columns = weight.shape
    blocks = np.einsum("nchw,coij->nohiwj", x, weight, optimize=True)
    return np.asarray(blocks.reshape(count, outputs, height * rows, width * columns))


def _pooled(x: Float, window: Window, fill: float) -> Float:
    return np.asarray(np.maximum.reduce(_taps(x, window, fill)))


def _nearest(x: Float, plane: tuple[int, ...]) -> Float:
    height, width = plane
    rows = np.arange(height) * x.shape[2] // height
    columns = np.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


def _same_shape(a: Float, b: Float) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the shapes {list(a.shape)} and {list(b.shape)} cannot be added")


def _added(a: Tensor, b: Tensor) -> Tensor:
    _same_shape(a.value, b.value)
    value, spread = a.value + b.value, a.bound + b.bound
    return Tensor(value, spread + UNIT * (np.abs(value) + spread) + SMALLEST)


def _activated(x: Tensor, act: Act) -> Tensor:
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
