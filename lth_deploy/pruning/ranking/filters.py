"""Whole filters: output channels that fall with all their weights, so that an export can leave them out.

Layers whose outputs are added to each other lose the same channels, at once: their filters of one number are one unit,
scored and counted together. Every layer keeps a filter.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import RecipeError
from lth_deploy.mask import Masks
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.block_scores import BlockScore
from lth_deploy.pruning.ranking.budget import Allocation, at_most, budget_left
from lth_deploy.pruning.ranking.criteria import Criterion
from lth_deploy.pruning.ranking.lowest_scores import Candidates, check_finite, lowest

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Unit = list[PrunableLayer]
"""Layers that lose the same channels."""


def prune_filters(
    layers: Sequence[PrunableLayer],
    masks: Mapping[str, BoolArray],
    sparsity: float,
    criterion: Criterion,
    allocation: Allocation,
    block_score: BlockScore,
    seed: int,
) -> Masks:
    """Masks of whole filters that reach `sparsity`, a subset of `masks`; see `prune`.

    With `per_layer`, all layers that can lose filters lose the same share of them.

    Raises:
        RecipeError: the level is beyond what whole filters can reach, or passed already.
        TrainingError: a score is not finite.
    """
    check_reachable(sparsity, sparsity, layers, allocation)
    units, macs = _units(layers), allocation == "macs"
    candidates = [_candidates(unit, masks, criterion, block_score, macs, seed) for unit in units]
    largest = max((_weights_of(unit, macs=False) / len(unit[0].weights) for unit in units), default=0.0)
    left = budget_left(layers, masks, sparsity, largest, macs)
    if allocation == "per_layer":
        share = sparsity * _weights_of(layers, macs=False) / sum(_weights_of(unit, macs=False) for unit in units)
        budgets = [budget_left(unit, masks, share, largest, macs=False) for unit in units]
        falls = [lowest([one], budget)[0] for one, budget in zip(candidates, budgets, strict=True)]
    else:
        falls = lowest(candidates, left)
    after = {layer.name: masks[layer.name] for layer in layers}
    for unit, fall in zip(units, falls, strict=True):
        for layer in unit:
            after[layer.name] = after[layer.name] & ~_by_filter(fall, layer)
    return after


def check_reachable(level: float, share: float, layers: Sequence[PrunableLayer], allocation: Allocation) -> None:
    """Refuse a level that removing all filters but one of each layer does not reach.

    Args:
        level: as the recipe has it, for the message.
        share: the same as a share of the weights of `layers`, or of their MACs with allocation `macs`.
        layers: the prunable layers.
        allocation: how the zeros are spread.

    Raises:
        RecipeError: it is not reached.
    """
    units, macs = _units(layers), allocation == "macs"
    whole = _weights_of(layers, macs)
    shares = [1 - 1 / len(unit[0].weights) for unit in units]
    if allocation == "per_layer":
        shares = [min(shares, default=0.0)] * len(units)
    most = sum(one * _weights_of(unit, macs) for one, unit in zip(shares, units, strict=True)) / whole
    if share > most + 1e-9:
        removable = {layer.name for unit in units for layer in unit}
        kept = [layer.name.removesuffix(".weight") for layer in layers if layer.name not in removable]
        because = (
            f"; {len(kept)} of {len(layers)} layers keep all filters, since what is no prunable layer reads them or "
            f"adds to them: {', '.join(kept[:4])}{', ...' * (len(kept) > 4)}"
        ) * bool(kept)
        raise RecipeError(
            f"pruning.levels: a sparsity of {level:.12g} cannot be reached with structure 'filter': each layer keeps "
            f"one{because}; the most that can be reached is {at_most(most * level / share)}"
        )


def _units(layers: Sequence[PrunableLayer]) -> list[Unit]:
    """The layers whose filters may fall, those together that lose the same ones."""
    named = {layer.name: layer for layer in layers}
    coupled = dict.fromkeys(layer.coupled for layer in layers if layer.coupled)
    return [[named[name] for name in names] for names in coupled if all(name in named for name in names)]


def _weights_of(layers: Sequence[PrunableLayer], macs: bool) -> float:
    return sum(layer.weights.size * (layer.positions if macs else 1.0) for layer in layers)


def _candidates(
    unit: Unit,
    masks: Mapping[str, BoolArray],
    criterion: Criterion,
    block_score: BlockScore,
    macs: bool,
    seed: int,
) -> Candidates:
    rows = [_rows(layer, criterion(layer, masks[layer.name], seed)) for layer in unit]
    alive = np.logical_or.reduce([masks[layer.name].any(axis=_taps(layer)) for layer in unit])
    cost = _weights_of(unit, macs) / len(alive)
    if macs:
        losses = [_loss_shares(one, alive, criterion.additive, block_score) for one in rows]
        scores = (np.sum(losses, axis=0) / cost).astype(np.float32)
    else:
        scores = _reduced(np.concatenate(rows, axis=1), block_score)
    # The best filter stays; of equal ones the last, since equal scores fall in order.
    best = len(alive) - 1 - int(np.argmax(np.where(alive, scores, -np.inf)[::-1]))
    free = alive.copy()
    free[best] = False
    return Candidates(unit[0].name, scores, free, cost)


def _rows(layer: PrunableLayer, scores: FloatArray) -> FloatArray:
    check_finite(layer.name, scores)
    return scores.reshape(len(scores), -1)


def _reduced(rows: FloatArray, block_score: BlockScore) -> FloatArray:
    """One score a filter of those of its weights, [filters, weights]."""
    if block_score == "max":
        return np.asarray(rows.max(axis=1))
    if block_score == "l1":
        return np.asarray(rows.mean(axis=1, dtype=np.float32))
    return np.asarray(np.sqrt(np.square(rows, dtype=np.float32).mean(axis=1, dtype=np.float32)))


def _loss_shares(
    rows: FloatArray, alive: BoolArray, additive: bool, block_score: BlockScore
) -> npt.NDArray[np.float64]:
    """What each filter is of its layer's loss: norms make the scale of a layer's weights meaningless."""
    scores = _reduced(rows, block_score).astype(np.float64)
    losses = scores if additive else np.square(scores)
    return losses / max(float(np.abs(losses[alive]).sum()), 1e-30)


def _taps(layer: PrunableLayer) -> tuple[int, ...]:
    return tuple(range(1, layer.weights.ndim))


def _by_filter(values: BoolArray, layer: PrunableLayer) -> BoolArray:
    return values.reshape(-1, *(1 for _ in _taps(layer)))
