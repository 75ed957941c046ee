"""How the zeros of a network are spread over its layers: where they add least to its error."""

import heapq
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.floating[Any]]

_GRID = 100


def spread_zeros(
    sizes: Mapping[str, int],
    curves: Mapping[str, Curve],
    shares: Sequence[float],
    zeros: int,
    limits: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Zeros of each layer, together `zeros` or what the limits allow, so that the sum of the layers' errors is least.

    On the lower convex hull of each curve the cheapest step comes first, which is the optimum there (Shoham and
    Gersho 1988).

    Args:
        sizes: weights of each layer.
        curves: what each layer adds to the error of the network at each of `shares`.
        shares: of zeros, rising from 0; the last is the most that a layer may have.
        zeros: how many are spread; at most the last share of all weights.
        limits: most zeros of each layer, where that is less than the last share.
    """
    grid = np.linspace(0.0, shares[-1], _GRID + 1)
    steps: list[tuple[float, int, str, int]] = []
    for number, (name, curve) in enumerate(curves.items()):
        for slope, weights in _hull(grid * sizes[name], np.interp(grid, shares, curve)):
            steps.append((slope, number, name, weights))
    heapq.heapify(steps)
    found = dict.fromkeys(sizes, 0)
    left = zeros
    while left > 0 and steps:
        _, _, name, weights = heapq.heappop(steps)
        more = min(weights, left, limits[name] - found[name]) if limits is not None else min(weights, left)
        found[name] += max(more, 0)
        left -= max(more, 0)
    return found


def _hull(x: Curve, y: Curve) -> list[tuple[float, int]]:
    """Slope and length of each edge below the points, rising; lengths are rounded so that they sum up."""
    corners = [0]
    for point in range(1, len(x)):
        while len(corners) > 1 and _slope(x, y, corners[-2], corners[-1]) >= _slope(x, y, corners[-2], point):
            corners.pop()
        corners.append(point)
    edges = itertools.pairwise(corners)
    return [(_slope(x, y, a, b), round(x[b]) - round(x[a])) for a, b in edges]


def _slope(x: Curve, y: Curve, first: int, last: int) -> float:
    return float((y[last] - y[first]) / (x[last] - x[first]))
