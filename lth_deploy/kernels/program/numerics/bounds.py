"""Exact values with bounds of what float32 arithmetic may make of them.

The bounds are forward error bounds for any order of summation: with u = 2**-24 and
g(n) = n u / (1 - n u), a sum of n float32 products is off by at most g(n) times the sum of their magnitudes
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), on top of what errors of its terms add.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.activations import activation_of, rounded_numbers
from lth_deploy.kernels.program.values import Act, Quantized

Float = npt.NDArray[np.float64]

UNIT = 2.0**-24
"""Largest relative error of one rounding to float32."""

SMALLEST = 2.0**-126
"""Below this a float32 result may be off by an absolute error, or be flushed to zero."""


_LARGE = 3e38
"""A result above this may be rounded to infinity."""


@dataclass(frozen=True)
class Tensor:
    """Exact values [N, C, H, W], and for each the largest error that a kernel's result may have.

    quantized: of a quantized tensor; the values are the stored integers, and the bound counts their steps. None for
    float32.
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


def same_shape(a: Float, b: Float) -> None:
    """Check that two operands have one shape.

    Raises:
        ValueError: they differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"the shapes {list(a.shape)} and {list(b.shape)} do not fit together")


def rounded(value: Float, spread: Float) -> Tensor:
    """The result of one operation whose operands being off changes it by `spread` at most, rounded once."""
    return Tensor(value, spread + UNIT * (np.abs(value) + spread) + SMALLEST)


def rounded_to_bf16(x: Tensor) -> Tensor:
    """Values of 8 significant bits, halves to even; a value that is a little off may lie next to another of these."""
    near = _nearest_bf16(x.value)
    spread = np.maximum(_nearest_bf16(x.value + x.bound) - near, near - _nearest_bf16(x.value - x.bound))
    return Tensor(near, spread + np.where(np.abs(near) + spread > _LARGE, np.inf, SMALLEST))


def _nearest_bf16(value: Float) -> Float:
    part, exponent = np.frexp(value)
    return np.asarray(np.ldexp(np.rint(np.ldexp(part, 8)), exponent - 8), np.float64)


def product(a: Tensor, b: Tensor) -> tuple[Float, Float]:
    """The product of two tensors, and how far off it is where these are: (a + s) (b + t) is a b + s b + t a + s t."""
    spread = a.bound * np.abs(b.value) + b.bound * np.abs(a.value) + a.bound * b.bound
    return np.asarray(a.value * b.value, np.float64), np.asarray(spread, np.float64)


def activated(x: Tensor, act: Act) -> Tensor:
    """The activation of a tensor: an error is stretched by the slope at most, and roundings are added."""
    entry, numbers = activation_of(act), rounded_numbers(act)
    if act.kind == "none":
        return x
    value, roundings = np.asarray(entry.function(x.value, numbers), np.float64), entry.roundings(numbers)
    if entry.grows:
        with np.errstate(invalid="ignore"):
            spread = np.where(x.bound > 0, entry.function(x.value + x.bound, numbers) - value, 0)
        # What lies next to infinity may be infinite.
        bound = spread + roundings * UNIT * np.where(np.abs(value) > _LARGE, np.inf, np.abs(value)) + SMALLEST
        return Tensor(value, bound)
    bound = entry.slope(numbers) * x.bound
    if roundings:
        size = np.abs(x.value) + x.bound + entry.offset(numbers)
        bound = bound + roundings * UNIT * size + SMALLEST
    return Tensor(value, bound)
