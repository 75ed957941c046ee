"""What functions of torch do with channels: leave each one alone, and zero where it was zero, or not zero."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ZERO_KEPT: frozenset[Any] = frozenset(
    {
        *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6),
        *(F.leaky_relu, F.leaky_relu_, F.elu, F.elu_, F.selu, F.selu_, F.celu, F.celu_, F.gelu, F.silu, F.mish),
        *(F.hardswish, F.softsign, F.tanhshrink, F.hardshrink, F.softshrink),
        *(torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, F.tanh),
        *(torch.neg, Tensor.neg, Tensor.__neg__, torch.abs, Tensor.abs),
        *(Tensor.contiguous, Tensor.clone, torch.clone, Tensor.detach, Tensor.to, Tensor.float),
    }
)
"""Each element of the result is a function of the same one of the first argument, and zero where that is zero."""

ZERO_CHANGED: frozenset[Any] = frozenset(
    {
        *(F.sigmoid, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, F.hardsigmoid, F.logsigmoid),
        *(F.softplus, torch.exp, Tensor.exp, torch.cos, Tensor.cos),
    }
)
"""Each element of the result is a function of the same one of the first argument, but a zero becomes another number."""

IMAGES: frozenset[Any] = frozenset(
    {
        *(F.max_pool2d, F.avg_pool2d, torch.max_pool2d),
        *(F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate),
    }
)
"""Each channel of images, axis 1, is made of the same one of the first argument, and zero where that is zero."""

SUMS: frozenset[Any] = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__})
PRODUCTS: frozenset[Any] = frozenset(
    {torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__, Tensor.__rmul__}
)
QUOTIENTS: frozenset[Any] = frozenset({torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__})
JOINS: frozenset[Any] = frozenset({torch.cat, torch.concat, torch.concatenate})

CLIPS: frozenset[Any] = frozenset({F.hardtanh, F.hardtanh_, torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_})
"""Bounds follow the first argument; a zero stays zero where it lies between them."""


def is_number(value: object) -> bool:
    """Whether a value is a finite number of Python's."""
    return isinstance(value, int | float) and math.isfinite(value)


def zero_within(bounds: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether zero lies within the bounds of a clip, which are numbers or absent."""
    low, high = (*bounds, None, None)[:2]
    low = next((named[name] for name in ("min", "min_val") if name in named), low)
    high = next((named[name] for name in ("max", "max_val") if name in named), high)
    known = all(bound is None or is_number(bound) for bound in (low, high))
    return known and (low is None or low <= 0) and (high is None or high >= 0)
