"""Allocation: how the zeros that a level asks for are spread over the layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import RecipeError
from lth_deploy.mask import Masks
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.block_scores import BlockScore, best_of_groups, block_scores, expand_blocks
from lth_deploy.pruning.ranking.budget import Allocation, budget_left
from lth_deploy.pruning.ranking.criteria import Criterion
from lth_deploy.pruning.ranking.erdos_renyi import erk_zeros
from lth_deploy.pruning.ranking.filters import prune_filters
from lth_deploy.pruning.ranking.layer_floors import Choose, Floors, capacity, within_capacities
from lth_deploy.pruning.ranking.lowest_scores import Candidates, check_finite, lowest
from lth_deploy.structures import SINGLE, Block, Filters, Groups, Structure

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def prune(
    layers: list[PrunableLayer],
    masks: Mapping[str, BoolArray],
    sparsity: float,
    criterion: Criterion,
    allocation: Allocation,
    structure: Structure,
    block_score: BlockScore | Literal["auto"] = "auto",
    seed: int = 0,
    keep_at_least: float = 0.0,
) -> Masks:
    """Masks that reach `sparsity`, a subset of `masks`.

    `sparsity` is the share of zero weights (global, erk: over all layers together; per_layer: in every layer) or,
    with `macs`, the share of zero MACs. It is reached and overshot by less than one block. With a structure of
    groups, N:M, every group keeps its N, and neither `sparsity` nor `allocation` changes that. For whole filters see
    `prune_filters`. `seed` is of the criterion. keep_at_least: share of the blocks of each layer that stay; see
    `Floors`.

    Raises:
        RecipeError: the masks already hold more zeros than asked for, so that the level cannot be a step on; or the
            floors of the layers keep more than that.
        TrainingError: a weight or a score is not finite.
    """
    if isinstance(structure, Groups):
        return {layer.name: _of_groups(layer, masks[layer.name], criterion, structure, seed) for layer in layers}
    if block_score == "auto":
        # Changes of the loss add up; magnitudes do as squares.
        block_score = "l1" if criterion.additive else "l2"
    if isinstance(structure, Filters):
        return prune_filters(layers, masks, sparsity, criterion, allocation, block_score, seed)
    blocks = [
        _candidates(layer, masks[layer.name], criterion, structure, allocation, block_score, seed) for layer in layers
    ]
    choose = _choice(layers, masks, sparsity, allocation, structure)
    floors = Floors.of(layers, structure, keep_at_least, sparsity)
    falls = floors.choose(blocks, choose) if floors is not None else choose(blocks)
    return {
        layer.name: masks[layer.name] & ~expand_blocks(fall, layer.weights.shape, structure, layer.transposed)
        for layer, fall in zip(layers, falls, strict=True)
    }


def zero_macs(layers: list[PrunableLayer], masks: Mapping[str, BoolArray]) -> float:
    """Share of the layers' MACs that the masks make zero."""
    total = sum(layer.weights.size * layer.positions for layer in layers)
    left = sum(float(np.count_nonzero(masks[layer.name])) * layer.positions for layer in layers)
    return 1.0 - left / total if total else 0.0


def _of_groups(layer: PrunableLayer, mask: BoolArray, criterion: Criterion, groups: Groups, seed: int) -> BoolArray:
    scores = criterion(layer, mask, seed)
    check_finite(layer.name, scores)
    return best_of_groups(scores, mask, groups, layer.transposed)


def _candidates(
    layer: PrunableLayer,
    mask: BoolArray,
    criterion: Criterion,
    block: Block,
    allocation: Allocation,
    block_score: BlockScore,
    seed: int,
) -> Candidates:
    scores, counts = block_scores(criterion(layer, mask, seed), block, layer.transposed, block_score)
    alive, _ = block_scores(mask.astype(np.float32), block, layer.transposed)
    cost: float | FloatArray = 1.0 if block == SINGLE else counts
    if allocation == "macs":
        scores = scores / np.float32(_loss_scale(layer, scores[alive > 0], criterion.additive))
        cost = cost * layer.positions
    return Candidates(layer.name, scores, alive > 0, cost)


def _loss_scale(layer: PrunableLayer, scores: FloatArray, additive: bool) -> float:
    """Divisor that makes scores rank by the share of a layer that is lost for one MAC.

    The greedy rule of a knapsack ranks by loss over cost. Scores are losses where they are `additive`; else they are
    roots of them, as |w| of w^2 is. The loss is counted as a share of the layer's own sum, for norms make the scale of
    a layer's weights meaningless: counted as it is, a stem of many positions and small weights loses all of them and
    the detector sees nothing (layer collapse, Tanaka et al. 2020).
    """
    losses = scores.astype(np.float64) if additive else np.square(scores, dtype=np.float64)
    price = max(float(losses.sum()) * layer.positions, 1e-30)
    return price if additive else math.sqrt(price)


def _choice(
    layers: list[PrunableLayer],
    masks: Mapping[str, BoolArray],
    sparsity: float,
    allocation: Allocation,
    block: Block,
) -> Choose:
    """How the blocks that are pruned are chosen among those that may be."""
    if allocation in ("per_layer", "erk"):
        zeros = _zeros_by_layer(layers, masks, sparsity, allocation, block)

        def by_layer(candidates: Sequence[Candidates]) -> list[BoolArray]:
            capacities = [capacity(one) for one in candidates]
            _check_capacity(sparsity, sum(zeros), sum(capacities))
            counts = within_capacities(zeros, capacities)
            return [lowest([one], count)[0] for one, count in zip(candidates, counts, strict=True)]

        return by_layer
    budget = budget_left(layers, masks, sparsity, block.size, macs=allocation == "macs")

    def together(candidates: Sequence[Candidates]) -> list[BoolArray]:
        _check_capacity(sparsity, budget, sum(capacity(one) for one in candidates))
        return lowest(candidates, budget)

    return together


def _check_capacity(sparsity: float, wanted: float, most: float) -> None:
    if wanted > most * (1 + 1e-9):
        raise RecipeError(
            f"a sparsity of {sparsity:.4g} needs {wanted:,.0f} more zeros, and the floors of the layers "
            f"(pruning.keep_at_least) leave only {most:,.0f} to prune; lower the level, or the floor"
        )


def _zeros_by_layer(
    layers: Sequence[PrunableLayer],
    masks: Mapping[str, BoolArray],
    sparsity: float,
    allocation: Allocation,
    block: Block,
) -> list[float]:
    """How many weights are still to fall in each layer, where layers have shares of their own."""
    if allocation == "per_layer":
        return [budget_left([layer], masks, sparsity, block.size, macs=False) for layer in layers]
    budget_left(layers, masks, sparsity, block.size, macs=False)  # refuses a level that is passed already
    wanted = erk_zeros([layer.weights.shape for layer in layers], sparsity)
    gone = [int(np.count_nonzero(~masks[layer.name])) for layer in layers]
    return [float(max(zeros - pruned, 0)) for zeros, pruned in zip(wanted, gone, strict=True)]
