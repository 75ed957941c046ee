"""Quantized arithmetic: exactly what ONNX Runtime's QuantizeLinear and QLinearConv compute, or within a bound.

A stored value q stands for (q - zero) * scale. Every function that rounds is monotone, so an uncertain argument is
settled by its ends: the bound of a quantized value counts the steps that it may be off.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.activations import activation_of, rounded_numbers
from lth_deploy.kernels.program.numerics.bounds import (
    UNIT,
    Float,
    Tensor,
    activated,
    column,
    gamma,
    same_shape,
)
from lth_deploy.kernels.program.values import NONE, Act, Quantized

_ROUNDINGS = 8
"""Roundings to float32, at most, of a value that is brought to another scale."""


_VALUES = 256
"""That a quantized tensor can have."""


def quantized(x: Tensor, out: Quantized) -> Tensor:
    """clamp(round_half_even(x / scale) + zero, 0, 255), the division in float32."""

    def stored(value: Float) -> Float:
        with np.errstate(over="ignore"):
            steps = value.astype(np.float32) / np.float32(out.scale)
        return _clamped(steps.astype(np.float64), out)

    return _settled(stored, x.value, x.bound, out)


def dequantized(x: Tensor) -> Tensor:
    """(x - zero) * scale, the product in float32."""
    assert x.quantized is not None
    scale = np.float32(x.quantized.scale)
    value = (x.value - x.quantized.zero).astype(np.float32) * scale
    return _uncertain(value.astype(np.float64), x.bound * float(scale))


def accumulated(
    products: Callable[[Float, Float], Float], x: Tensor, weight: Float, bias: Float | None, float_terms: int
) -> Tensor:
    """Accumulators of a quantized layer, with its bias, in units of the scales of x and weight.

    products: sums the products of values and weights. bias: [C, 1, 1]. float_terms: of the longest sum where it is
    computed in float32; 0 where in integers.
    """
    assert x.quantized is not None
    centered = x.value - x.quantized.zero
    total = products(centered, weight)
    bound = products(x.bound, np.abs(weight)) if x.bound.any() else np.zeros_like(total)
    if float_terms:
        size = products(np.abs(centered) + x.bound, np.abs(weight)) + (0 if bias is None else np.abs(bias))
        # Scales are factors of their own, and a quotient follows.
        bound = bound + gamma(np.float64(float_terms + _ROUNDINGS)) * size
    return Tensor(total if bias is None else total + bias, bound)


def requantized_accumulators(
    accumulators: Tensor, of_x: Quantized, scales: Float, act: Act, out: Quantized | None, add: Tensor | None = None
) -> Tensor:
    """The epilogue of a quantized layer: residual, activation and the scale of the result, or floats without `out`.

    scales: [C], of the weight's output channels.
    """
    total, spread = accumulators.value, accumulators.bound
    unit = np.float32(of_x.scale) * column(scales).astype(np.float32)
    if out is None:
        return activated(_times(total, spread, unit), act)
    if add is None and activation_of(act).clamp is not None:
        return _clamped_accumulators(accumulators, unit / np.float32(out.scale), act, out)
    value, size = total * unit, np.abs(total * unit)
    bound = spread * unit
    if add is not None:
        same_shape(value, add.value)
        residual = dequantized(add)
        value, size, bound = value + residual.value, size + _terms(add), bound + residual.bound
    return rounded_once(value, bound + _ROUNDINGS * UNIT * size, act, out)


def rescaled(given: Sequence[Tensor], act: Act, out: Quantized) -> Tensor:
    """The activation of a sum of quantized tensors, rounded once."""
    if len(given) == 1 and given[0].value.size > _VALUES and not given[0].bound.any():
        return _by_table(given[0], act, out)
    for tensor in given[1:]:
        same_shape(given[0].value, tensor.value)
    parts = [dequantized(tensor) for tensor in given]
    value = sum((part.value for part in parts), np.zeros(()))
    size = sum((_terms(tensor) for tensor in given), np.zeros(()))
    bound = sum((part.bound for part in parts), np.zeros(()))
    return rounded_once(value, bound + _ROUNDINGS * UNIT * size, act, out)


def _by_table(x: Tensor, act: Act, out: Quantized) -> Tensor:
    """`rescaled` of an exact tensor: what it makes of each of the values that one can have."""
    every = np.arange(_VALUES, dtype=np.float64)
    made = rescaled([Tensor(every, np.zeros_like(every), x.quantized)], act, out)
    places = x.value.astype(np.uint8)
    return Tensor(made.value[places], made.bound[places], out)


def residual(x: Tensor, y: Tensor, act: Act, out: Quantized) -> Tensor:
    """The sum of a quantized tensor and of the activation of another one, rounded once."""
    same_shape(x.value, y.value)
    plain, made = dequantized(x), activated(dequantized(y), act)
    size = _terms(x) + np.abs(made.value) + made.bound
    bound = plain.bound + made.bound + _ROUNDINGS * UNIT * size
    return rounded_once(plain.value + made.value, bound, NONE, out)


def rounded_once(value: Float, bound: Float, act: Act, out: Quantized) -> Tensor:
    """The activation of real values that may be off by `bound`, brought to a scale and rounded there."""
    v = activated(Tensor(value, bound), act)
    scale = float(np.float32(out.scale))
    steps, spread = v.value / scale, v.bound / scale
    spread = spread + _ROUNDINGS * UNIT * (np.abs(steps) + spread)
    return _settled(lambda s: _clamped(s, out), steps, spread, out)


def _terms(x: Tensor) -> Float:
    """Magnitude of value * scale and zero * scale, which the kernels may add separately."""
    assert x.quantized is not None
    return (x.value + x.quantized.zero) * float(np.float32(x.quantized.scale))


def _times(total: Float, spread: Float, factor: npt.NDArray[np.float32]) -> Tensor:
    value = total.astype(np.float32) * factor
    return _uncertain(value.astype(np.float64), spread * factor)


def _uncertain(value: Float, off: Float) -> Tensor:
    """Float32 products of integers that may be off: exact where these are, else another product is rounded as well."""
    return Tensor(value, off + np.where(off > 0, 4 * UNIT * (np.abs(value) + off), 0))


def _clamped_accumulators(accumulators: Tensor, factor: npt.NDArray[np.float32], act: Act, out: Quantized) -> Tensor:
    """Accumulators rounded once, between the quantized bounds of an activation that only clamps."""
    clamp = activation_of(act).clamp
    assert clamp is not None
    bounds = np.array(clamp(rounded_numbers(act)))
    low, high = quantized(Tensor(bounds, np.zeros(2)), out).value

    def stored(sums: Float) -> Float:
        steps = np.clip(sums.astype(np.float32) * factor, np.float32(-out.zero), np.float32(255 - out.zero))
        return np.asarray(np.clip(np.rint(steps.astype(np.float64)) + out.zero, low, high), np.float64)

    return _settled(stored, accumulators.value, accumulators.bound, out)


def _clamped(steps: Float, out: Quantized) -> Float:
    return np.asarray(np.clip(np.rint(steps) + out.zero, 0.0, 255.0), np.float64)


def _settled(stored: Callable[[Float], Float], value: Float, spread: Float, out: Quantized) -> Tensor:
    middle = stored(value)
    if not spread.any():
        return Tensor(middle, np.zeros_like(middle), out)
    off = np.maximum(stored(value + spread) - middle, middle - stored(value - spread))
    return Tensor(middle, off, out)
