"""Least squares with coefficients that are not negative: what each amount costs, from times of sums of amounts."""

from collections.abc import Mapping, Sequence

import numpy as np

from lth_deploy.arrays import Array

_SHORT_NS = 2000.0
"""Times below this count as much as if they were this long: they hold the noise of clocks."""

_TOLERANCE = 1e-10


def fitted_rates(
    amounts: Sequence[Mapping[str, float]], times: Sequence[float], importance: Sequence[float] | None = None
) -> dict[str, float]:
    """Nanoseconds of one of each amount, by its name; errors count in proportion to the time that they are errors of.

    amounts: of each observation. times: in nanoseconds. importance: how many times the error of each counts.
    """
    names = sorted({name for one in amounts for name, amount in one.items() if amount})
    if not names:
        return {}
    table = np.array([[one.get(name, 0.0) for name in names] for one in amounts])
    measured = np.asarray(times, np.float64)
    weights = np.asarray(1.0 if importance is None else importance) / np.maximum(measured, _SHORT_NS)
    weighted = table * weights[:, None]
    sizes = np.abs(weighted).max(axis=0)
    found = nonnegative_least_squares(weighted / sizes, measured * weights) / sizes
    return dict(zip(names, found.tolist(), strict=True))


def nonnegative_least_squares(matrix: Array, right: Array) -> Array:
    """The x without negative entries for which matrix @ x is closest to right (NNLS of Lawson and Hanson, 1974)."""
    columns = matrix.shape[1]
    free = np.zeros(columns, np.bool_)
    x = np.zeros(columns)
    limit = _TOLERANCE * float(np.abs(matrix.T @ right).max(initial=0.0))
    for _ in range(10 * columns):
        slope = matrix.T @ (right - matrix @ x)
        if free.all() or float(slope[~free].max()) <= limit:
            break
        free[int(np.argmax(np.where(free, -np.inf, slope)))] = True
        x = _feasible(matrix, right, x, free)
    return x


def _feasible(matrix: Array, right: Array, x: Array, free: Array) -> Array:
    """The least squares of the free columns; those that would become negative are bound at zero, and x moves there."""
    while True:
        best = np.zeros_like(x)
        best[free] = np.linalg.lstsq(matrix[:, free], right, rcond=None)[0]
        negative = free & (best <= 0)
        if not negative.any():
            return best
        step = float((x[negative] / (x[negative] - best[negative])).min())
        x = x + step * (best - x)
        free &= x > _TOLERANCE
        x = np.where(free, x, 0.0)
