"""The instructions on bytes: exactly what ONNX Runtime's QuantizeLinear and QLinearConv compute, or within a bound.

A byte stands for (byte - zero) * scale. Every function that rounds is monotone, so an uncertain argument is settled by
its ends: the bound of a byte counts the steps that it may be off.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.oracle.error_bounds import (
    UNIT,
    Float,
    Tensor,
    activated,
    column,
    gamma,
    integer_sums,
    same_shape,
    spread_out,
)
from lth_deploy.kernels.program.instructions import Act, QConv, QConvTranspose, Quantized

Sums = Literal["integers", "floats"]
"""How products are summed: exactly, as kernels of bytes do, or in float32, as a stock runtime does elsewhere."""

_ROUNDINGS = 8
"""Roundings to float32, at most, of a value that is brought to another scale."""


def quantized(x: Tensor, out: Quantized) -> Tensor:
    """clamp(round_half_even(x / scale) + zero, 0, 255), the division in float32."""

    def byte(value: Float) -> Float:
        with np.errstate(over="ignore"):
            steps = value.astype(np.float32) / np.float32(out.scale)
        return _clamped(steps.astype(np.float64), out)

    return _settled(byte, x.value, x.bound, out)


def dequantized(x: Tensor) -> Tensor:
    """(x - zero) * scale, the product in float32."""
    assert x.quantized is not None
    scale = np.float32(x.quantized.scale)
    value = (x.value - x.quantized.zero).astype(np.float32) * scale
    return _uncertain(value.astype(np.float64), x.bound * float(scale))


def convolution(step: QConv, made: Sequence[Tensor], weights: Sequence[Float], sums: Sums = "integers") -> Tensor:
    """Without residual and with an activation that only clamps, the byte of QLinearConv, if `sums` are of integers."""
    x, weight = made[step.x], weights[step.weight]
    assert x.quantized is not None
    weight = weight.reshape(*weight.shape, *(1, 1)[: 4 - weight.ndim])

    def summed(value: Float, factors: Float) -> Float:
        return integer_sums(value, factors, step.window, step.groups)

    terms = int(np.count_nonzero(weight.reshape(len(weight), -1), axis=1).max())
    bias = None if step.bias is None else column(weights[step.bias])
    total, spread = _summed(summed, x, weight, bias, terms if sums == "floats" else 0)
    return _brought(step, total, spread, x.quantized, None if step.add is None else made[step.add], weights)


def transposed(step: QConvTranspose, x: Tensor, weights: Sequence[Float], sums: Sums = "integers") -> Tensor:
    """As `convolution`: what a QLinearConv of every tap of the kernel would make, one beside the other."""
    assert x.quantized is not None
    weight = weights[step.weight]
    bias = None if step.bias is None else column(weights[step.bias])
    total, spread = _summed(spread_out, x, weight, bias, len(weight) if sums == "floats" else 0)
    return _brought(step, total, spread, x.quantized, None, weights)


def _summed(
    summed: Callable[[Float, Float], Float], x: Tensor, weight: Float, bias: Float | None, terms: int
) -> tuple[Float, Float]:
    """Sums of bytes less their zero point, with the bias, and how far they may be off.

    terms: of the longest sum where they are added up in float32; 0 where in integers.
    """
    assert x.quantized is not None
    centered = x.value - x.quantized.zero
    total = summed(centered, weight)
    spread = summed(x.bound, np.abs(weight)) if x.bound.any() else np.zeros_like(total)
    if terms:
        size = summed(np.abs(centered) + x.bound, np.abs(weight)) + (0 if bias is None else np.abs(bias))
        # Scales are factors of their own, and a quotient follows.
        spread = spread + gamma(np.float64(terms + _ROUNDINGS)) * size
    return total if bias is None else total + bias, spread


def _brought(
    step: QConv | QConvTranspose,
    total: Float,
    spread: Float,
    of_x: Quantized,
    add: Tensor | None,
    weights: Sequence[Float],
) -> Tensor:
    """Sums that may be off by `spread`, brought to the scale of the result."""
    unit = np.float32(of_x.scale) * column(weights[step.scales]).astype(np.float32)
    if step.out is None:
        return activated(_times(total, spread, unit), step.act)
    if add is None and step.act.kind in ("none", "relu", "clip"):
        return _requantized(total, spread, unit / np.float32(step.out.scale), step.act, step.out)
    value, size = total * unit, np.abs(total * unit)
    bound = spread * unit
    if add is not None:
        same_shape(value, add.value)
        residual = dequantized(add)
        value, size, bound = value + residual.value, size + _terms(add), bound + residual.bound
    return _rounded_once(value, bound + _ROUNDINGS * UNIT * size, step.act, step.out)


def rescaled(given: Sequence[Tensor], act: Act, out: Quantized) -> Tensor:
    """A sum of bytes behind an activation, rounded once."""
    for tensor in given[1:]:
        same_shape(given[0].value, tensor.value)
    parts = [dequantized(tensor) for tensor in given]
    value = sum((part.value for part in parts), np.zeros(()))
    size = sum((_terms(tensor) for tensor in given), np.zeros(()))
    bound = sum((part.bound for part in parts), np.zeros(()))
    return _rounded_once(value, bound + _ROUNDINGS * UNIT * size, act, out)


def _terms(x: Tensor) -> Float:
    """Magnitude of byte * scale and zero * scale, which the kernels may add apart."""
    assert x.quantized is not None
    return (x.value + x.quantized.zero) * float(np.float32(x.quantized.scale))


def _times(total: Float, spread: Float, factor: npt.NDArray[np.float32]) -> Tensor:
    value = total.astype(np.float32) * factor
    return _uncertain(value.astype(np.float64), spread * factor)


def _uncertain(value: Float, off: Float) -> Tensor:
    """Float32 products of integers that may be off: exact where these are, else another product is rounded as well."""
    return Tensor(value, off + np.where(off > 0, 4 * UNIT * (np.abs(value) + off), 0))


def _requantized(total: Float, spread: Float, factor: npt.NDArray[np.float32], act: Act, out: Quantized) -> Tensor:
    low, high = 0.0, 255.0
    if act.kind == "relu":
        low = float(out.zero)
    elif act.kind == "clip":
        bounds = np.array(act.numbers, np.float32).astype(np.float64)
        low, high = quantized(Tensor(bounds, np.zeros(2)), out).value

    def byte(sums: Float) -> Float:
        steps = np.clip(sums.astype(np.float32) * factor, np.float32(-out.zero), np.float32(255 - out.zero))
        return np.asarray(np.clip(np.rint(steps.astype(np.float64)) + out.zero, low, high), np.float64)

    return _settled(byte, total, spread, out)


def _rounded_once(value: Float, bound: Float, act: Act, out: Quantized) -> Tensor:
    v = activated(Tensor(value, bound), act)
    scale = float(np.float32(out.scale))
    steps, spread = v.value / scale, v.bound / scale
    spread = spread + _ROUNDINGS * UNIT * (np.abs(steps) + spread)
    return _settled(lambda s: _clamped(s, out), steps, spread, out)


def _clamped(steps: Float, out: Quantized) -> Float:
    return np.asarray(np.clip(np.rint(steps) + out.zero, 0.0, 255.0), np.float64)


def _settled(byte: Callable[[Float], Float], value: Float, spread: Float, out: Quantized) -> Tensor:
    middle = byte(value)
    if not spread.any():
        return Tensor(middle, np.zeros_like(middle), out)
    off = np.maximum(byte(value + spread) - middle, middle - byte(value - spread))
    return Tensor(middle, off, out)
