"""The floor of a layer: what stays of it whatever is pruned, so that no layer cuts the network in two.

Coarse blocks have scores so alike within a layer that a ranking over all layers takes some layers as a whole (layer
collapse, Tanaka et al. 2020). A *unit* is a single weight, or a block of them.
"""

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array

BoolArray = npt.NDArray[np.bool_]

KEEP_AT_LEAST = 0.01
"""Share of the units of a layer that stay, where nothing else is asked for."""

GROUP_OUTPUTS = 16
"""Neighboring output channels of which at least one unit stays; as many as a block has, where it has more."""


def group_rows(block_outputs: int) -> int:
    """Rows of units in a group of outputs, for units of `block_outputs` output channels."""
    return max(1, GROUP_OUTPUTS // block_outputs)


def floor_units(scores: Array, alive: BoolArray, rows: int, share: float) -> BoolArray:
    """The units that stay: the best of each group of outputs, then the best of all until `share` is reached.

    Of equal scores the last stays, since equal scores are pruned in order.

    Args:
        scores: of units, [rows of units, ...], not NaN.
        alive: False where a unit was pruned before; it stays pruned.
        rows: see `group_rows`.
        share: of all units of the layer, rounded down.
    """
    stays = np.zeros(alive.size, np.bool_)
    ranked, a_row = np.where(alive, scores, -np.inf).reshape(-1), alive.size // len(alive)
    for first in range(0, ranked.size, rows * a_row):
        group = ranked[first : first + rows * a_row]
        best = first + group.size - 1 - int(np.argmax(group[::-1]))
        stays[best] = ranked[best] > -np.inf
    wanted = min(int(share * alive.size), int(np.count_nonzero(alive)))
    missing = wanted - int(np.count_nonzero(stays))
    if missing > 0:
        ranked[stays] = -np.inf
        least = np.partition(ranked, ranked.size - missing)[ranked.size - missing]
        better = ranked > least
        stays |= better
        stays[np.flatnonzero(ranked == least)[int(np.count_nonzero(better)) - missing :]] = True
    return stays.reshape(alive.shape)


def is_below_floor(kept: BoolArray, alive: BoolArray, rows: int, share: float) -> bool:
    """Whether a layer that had the units `alive`, of which `kept` are left, misses what `floor_units` keeps."""
    wanted = min(int(share * alive.size), int(np.count_nonzero(alive)))
    if np.count_nonzero(kept) < wanted:
        return True
    starts = np.arange(0, len(kept), rows)
    before, after = (
        np.logical_or.reduceat(units.reshape(len(units), -1).any(axis=1), starts) for units in (alive, kept)
    )
    return bool((before & ~after).any())


def floor_count(grid: tuple[int, ...], rows: int, share: float) -> int:
    """How many units `floor_units` keeps of a layer of `grid` units that are all alive."""
    return max(int(share * int(np.prod(grid))), -(-grid[0] // rows))
