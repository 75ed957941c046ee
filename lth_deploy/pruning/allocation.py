"""Allocation: how the zeros that a level asks for are spread over the layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import RecipeError
from lth_deploy.mask import Masks
from lth_deploy.pruning.criteria import Criterion
from lth_deploy.pruning.selection import Candidates, lowest
from lth_deploy.pruning.structure import BlockScore, Structure, block_scores, expand_blocks

FloatArray = npt.NDArray[np.float32]
Allocation = Literal["global", "per_layer", "macs"]


@dataclass(frozen=True)
class PrunableLayer:
    """One layer as the search sees it.

    weights: float32 [O, I, ...taps], or [I, O, ...taps] where `transposed`. positions: how many output
    positions of one image every weight is multiplied for, so that MACs = weights x positions.
    """

    name: str
    weights: FloatArray
    transposed: bool
    positions: float


def prune(
    layers: list[PrunableLayer],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    sparsity: float,
    criterion: Criterion,
    allocation: Allocation,
    structure: Structure,
    block_score: BlockScore = "l2",
) -> Masks:
    """Masks that reach `sparsity`, a subset of `masks`.

    `sparsity` is the share of zero weights (global: over all layers together; per_layer: in every layer) or,
    with `macs`, the share of zero MACs. It is reached and overshot by less than one block.

    Raises:
        RecipeError: the masks already hold more zeros than asked for, so that the level cannot be a step on.
        TrainingError: a weight is not finite.
    """
    blocks = [_candidates(layer, masks[layer.name], criterion, structure, allocation, block_score) for layer in layers]
    if allocation == "per_layer":
        falls = [
            lowest([block], _budget([layer], masks, sparsity, structure, macs=False))[0]
            for layer, block in zip(layers, blocks, strict=True)
        ]
    else:
        falls = lowest(blocks, _budget(layers, masks, sparsity, structure, macs=allocation == "macs"))
    return {
        layer.name: masks[layer.name] & ~expand_blocks(fall, layer.weights.shape, structure, layer.transposed)
        for layer, fall in zip(layers, falls, strict=True)
    }


def zero_macs(layers: list[PrunableLayer], masks: Mapping[str, npt.NDArray[np.bool_]]) -> float:
    """Share of the layers' MACs that the masks make zero."""
    total = sum(layer.weights.size * layer.positions for layer in layers)
    left = sum(float(np.count_nonzero(masks[layer.name])) * layer.positions for layer in layers)
    return 1.0 - left / total if total else 0.0


def _candidates(
    layer: PrunableLayer,
    mask: npt.NDArray[np.bool_],
    criterion: Criterion,
    structure: Structure,
    allocation: Allocation,
    block_score: BlockScore,
) -> Candidates:
    scores, counts = block_scores(criterion(layer.weights), structure, layer.transposed, block_score)
    alive, _ = block_scores(mask.astype(np.float32), structure, layer.transposed)
    cost: float | FloatArray = 1.0 if structure == Structure(1, 1) else counts
    if allocation == "macs":
        scores = scores / np.float32(_loss_scale(layer, scores[alive > 0]))
        cost = cost * layer.positions
    return Candidates(layer.name, scores, alive > 0, cost)


def _loss_scale(layer: PrunableLayer, scores: FloatArray) -> float:
    """Divisor that makes squared scores the share of its energy that a layer loses for one MAC.

    The greedy rule of a knapsack ranks by loss over cost. The loss is counted as a share of the layer's own sum of
    squares, for norms make the scale of a layer's weights meaningless: counted as it is, a stem of many positions
    and small weights loses all of them and the detector sees nothing (layer collapse, Tanaka et al. 2020).
    """
    energy = float(np.square(scores, dtype=np.float64).sum())
    return math.sqrt(max(energy * layer.positions, 1e-30))


def _budget(
    layers: list[PrunableLayer],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    sparsity: float,
    structure: Structure,
    macs: bool,
) -> float:
    """What is still to fall, in weights or in MACs; nothing when the level before overshot to here already."""
    prices = [layer.positions if macs else 1.0 for layer in layers]
    total = sum(layer.weights.size * price for layer, price in zip(layers, prices, strict=True))
    gone = sum(
        (layer.weights.size - int(np.count_nonzero(masks[layer.name]))) * price
        for layer, price in zip(layers, prices, strict=True)
    )
    target = sparsity * total if macs else round(sparsity * total)
    # A level before may have overshot by the block that crossed its line, and rounding by one weight more.
    overshoot = (structure.outputs * structure.inputs + 1) * max(prices, default=0.0)
    if gone > target + overshoot:
        raise RecipeError(
            f"a sparsity of {sparsity:.4g} is asked for, but {gone / total:.4g} is reached already; "
            "levels must rise, and blocks that were pruned stay pruned"
        )
    return max(target - gone, 0.0)
