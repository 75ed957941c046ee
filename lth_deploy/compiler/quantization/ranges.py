"""Which range of a tensor is worth 256 steps: the one that costs the least error after the tensor's activation."""

from collections.abc import Callable

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.compiler.quantization.activation_samples import Sample
from lth_deploy.compiler.quantization.learned_ranges import Grid

Function = Callable[[Array], list[Array]]
"""From values of a tensor to all that others read of it: see `elementwise`."""

SHARES = tuple(round(0.85**power, 6) for power in range(18))
"""Shares of an extreme that are tried: clipping a tail that few values reach makes the steps of all others finer."""

_ROUNDS = 2
"""Times that either end is chosen anew for the other."""


def grid_between(low: float, high: float) -> Grid:
    """The grid whose 256 steps reach from one number to the other; both hold 0 between them."""
    scale = float(np.float32((high - low) / 255))
    if scale < np.finfo(np.float32).tiny:
        return Grid(1.0, 0)
    return Grid(scale, int(np.clip(round(-low / scale), 0, 255)))


def whole_range(sample: Sample) -> Grid:
    """The grid of all that was seen."""
    return grid_between(sample.low, sample.high)


def best_range(sample: Sample, function: Function) -> Grid:
    """The grid with the least mean squared error of what `function` makes of the values.

    Both ends are moved in turn: with SiLU, values far below zero may be clipped for nothing, as it makes zeros of them.
    """
    exact = function(sample.values)

    def error(low: float, high: float) -> float:
        found = function(rounded(sample.values, grid_between(low, high)))
        return sum(float(np.square(a - b).mean()) for a, b in zip(found, exact, strict=True))

    low, high = 1.0, 1.0
    for _ in range(_ROUNDS):
        before = low, high
        high = min(SHARES, key=lambda share: error(low * sample.low, share * sample.high))
        if sample.low < 0:
            low = min((*SHARES, 0.0), key=lambda share: error(share * sample.low, high * sample.high))
        if (low, high) == before:
            break
    return grid_between(low * sample.low, high * sample.high)


def rounded(values: Array, grid: Grid) -> Array:
    """What values on a grid stand for."""
    steps = np.clip(np.rint(values / np.float32(grid.scale)) + grid.zero, 0, 255) - grid.zero
    return np.asarray(steps * np.float32(grid.scale), np.float32)
