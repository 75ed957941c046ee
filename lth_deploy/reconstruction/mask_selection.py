"""Which weights of a layer are kept: all but the cheapest ones, or blocks, or the N best of every M inputs."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.layer_floor import floor_units, group_rows
from lth_deploy.structures import Block, Groups

Costs = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def select_kept(
    costs: Costs, alive: Mask, zeros: int, taps: int, structure: Block | Groups, *, floor: bool = False
) -> Mask:
    """The mask of what is kept when the cheapest weights are pruned, of equal ones the first.

    Args:
        costs: of each weight, [group, outputs, inputs x taps], not negative.
        alive: False where a weight was pruned before.
        zeros: of the result, those before included. Reached exactly by single weights, and exceeded by less than a
            block; N:M has its own number.
        taps: weights between an input and an output channel.
        structure: what is pruned together.
        floor: whether the dearest block of each group of outputs stays, so that `zeros` may not be reached; N:M keeps
            weights everywhere.
    """
    split = (*costs.shape[:2], -1, taps)
    if isinstance(structure, Groups):
        return alive & _best_of_groups(np.where(alive, costs, -1.0).reshape(split), structure).reshape(costs.shape)
    block_costs = _sum_blocks(np.where(alive, costs, 0.0).reshape(split), structure)
    counts = _sum_blocks(alive.astype(float).reshape(split), structure)
    mean = np.divide(block_costs, counts, out=np.full(counts.shape, np.inf), where=counts > 0).reshape(-1)
    if floor:
        mean[_floor(mean.reshape(counts.shape), counts > 0, structure).reshape(-1)] = np.inf
    order = np.argsort(mean, kind="stable")
    zeros_before = alive.size - int(np.count_nonzero(alive))
    zeros_after = zeros_before + np.cumsum(counts.reshape(-1)[order])
    pruned = np.zeros(mean.size, np.bool_)
    if zeros > zeros_before:
        chosen = order[: int(np.searchsorted(zeros_after, zeros)) + 1]
        pruned[chosen[np.isfinite(mean[chosen])]] = True
    wide = pruned.reshape(counts.shape).repeat(structure.outputs, axis=1).repeat(structure.inputs, axis=2)
    channels = costs.shape[2] // taps
    return alive & ~wide[:, : costs.shape[1], :channels].reshape(costs.shape)


def most_zeros(alive: Mask, taps: int, block: Block) -> int:
    """Zeros that `select_kept` surely reaches with a floor, those before included."""
    outputs, inputs = alive.shape[0] * -(-alive.shape[1] // block.outputs), alive.shape[2] // taps
    kept = -(-outputs // group_rows(block.outputs)) * min(block.outputs, alive.shape[1]) * min(block.inputs, inputs)
    zeros: int = alive.size - min(kept, int(np.count_nonzero(alive)))
    return zeros


def _floor(mean: Costs, alive: Mask, block: Block) -> Mask:
    """The block of each group of outputs that costs most; [group, outputs, inputs, taps] of blocks."""
    rows = (-1, *mean.shape[2:])
    return floor_units(mean.reshape(rows), alive.reshape(rows), group_rows(block.outputs), 0.0).reshape(mean.shape)


def _sum_blocks(values: Costs, block: Block) -> Costs:
    by_rows = np.add.reduceat(values, np.arange(0, values.shape[1], block.outputs), axis=1)
    sums: Costs = np.add.reduceat(by_rows, np.arange(0, values.shape[2], block.inputs), axis=2)
    return sums


def _best_of_groups(costs: Costs, groups: Groups) -> Mask:
    best = np.zeros(costs.shape, np.bool_)
    for start in range(0, costs.shape[2], groups.of):
        part = costs[:, :, start : start + groups.of]
        order = np.argsort(part, axis=2, kind="stable")
        np.put_along_axis(best[:, :, start : start + groups.of], order[:, :, -groups.keep :], True, axis=2)
    return best
