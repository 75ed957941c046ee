"""The floors of all layers in a ranking: which layers would fall below theirs, and what may still be pruned."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.errors import RecipeError
from lth_deploy.layer_floor import floor_count, floor_units, group_rows, is_below_floor
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.budget import at_most
from lth_deploy.pruning.ranking.lowest_scores import Candidates
from lth_deploy.structures import Block

logger = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]
Choose = Callable[[Sequence[Candidates]], list[BoolArray]]
"""From the candidates of each layer to those that are pruned."""

LISTED = 6


@dataclass(frozen=True)
class Floors:
    """What stays of each layer: `share` of its blocks, and a block of each group of outputs.

    share: at most the share that the level keeps, so that every layer can reach the level.
    """

    layers: Sequence[PrunableLayer]
    block: Block
    share: float

    @staticmethod
    def of(layers: Sequence[PrunableLayer], block: Block, keep_at_least: float, sparsity: float) -> "Floors | None":
        """The floors at a level; none where `keep_at_least` is 0."""
        return Floors(layers, block, min(keep_at_least, 1.0 - sparsity)) if keep_at_least > 0 else None

    def choose(self, candidates: Sequence[Candidates], choose: Choose) -> list[BoolArray]:
        """What `choose` prunes; where that takes a layer below its floor, again without what has to stay."""
        falls = choose(candidates)
        rows = zip(candidates, self.layers, falls, strict=True)
        below = [one.name for one, layer, fall in rows if self._is_below(one, layer, fall)]
        if not below:
            return falls
        logger.info(
            "pruning.keep_at_least: %d of %d layers would have kept less than %.3g %% of their weights, or nothing of "
            "%d neighboring outputs; their best weights stay, and others are pruned instead: %s%s",
            len(below),
            len(candidates),
            100 * self.share,
            self.block.outputs * group_rows(self.block.outputs),
            ", ".join(below[:LISTED]),
            f" and {len(below) - LISTED} more" if len(below) > LISTED else "",
        )
        return choose([self._held(one, layer) for one, layer in zip(candidates, self.layers, strict=True)])

    def _is_below(self, one: Candidates, layer: PrunableLayer, fall: BoolArray) -> bool:
        alive, kept = (_outputs_first(units, layer) for units in (one.alive, one.alive & ~fall))
        return is_below_floor(kept, alive, group_rows(self.block.outputs), self.share)

    def _held(self, one: Candidates, layer: PrunableLayer) -> Candidates:
        scores, alive = _outputs_first(one.scores, layer), _outputs_first(one.alive, layer)
        stays = floor_units(scores, alive, group_rows(self.block.outputs), self.share)
        return replace(one, alive=one.alive & ~_outputs_first(stays, layer))


def capacity(one: Candidates) -> float:
    """What may still be pruned of a layer, in the unit of its costs."""
    if np.ndim(one.cost) == 0:
        return float(one.cost) * int(np.count_nonzero(one.alive))
    return float(np.broadcast_to(one.cost, one.scores.shape)[one.alive].sum(dtype=np.float64))


def within_capacities(zeros: Sequence[float], capacities: Sequence[float]) -> list[float]:
    """The same sum, and nowhere more than a layer has; what one has too little of comes from the others' rest.

    Whole numbers stay whole; of equal remainders the earlier layer takes one more.
    """
    taken = [min(count, most) for count, most in zip(zeros, capacities, strict=True)]
    missing = sum(zeros) - sum(taken)
    if missing <= 0:
        return taken
    room = np.array(capacities) - np.array(taken)
    exact = room * min(missing / max(float(room.sum()), 1e-30), 1.0)
    more = np.floor(exact + 1e-9)
    for layer in np.argsort(more - exact, kind="stable")[: round(min(missing, float(room.sum())) - float(more.sum()))]:
        more[layer] += 1
    return [count + float(one) for count, one in zip(taken, more, strict=True)]


def check_floor(
    level: float, share: float, layers: Sequence[PrunableLayer], block: Block, keep_at_least: float
) -> None:
    """Refuse a level that the floors of the layers do not allow.

    Args:
        level: as the recipe has it, for the message.
        share: the same as a share of the weights of `layers`, or of their MACs where they have positions.
        layers: the prunable layers, with positions of 1 where weights are counted.
        block: the structure.
        keep_at_least: the recipe's; nothing is refused where it is 0.

    Raises:
        RecipeError: it is not reached; the message has the most that is.
    """
    if keep_at_least <= 0 or share <= _without_floors(layers, block, min(keep_at_least, 1.0 - share)) + 1e-9:
        return
    most = 0.0
    for _ in range(32):  # a higher level has lower floors, so that this rises to the highest one
        most = _without_floors(layers, block, min(keep_at_least, 1.0 - most))
    raise RecipeError(
        f"pruning.levels: a sparsity of {level:.12g} cannot be reached in blocks of {block.dims} while each layer "
        f"keeps its floor (pruning.keep_at_least: {keep_at_least:.12g}): the most that can be reached is "
        f"{at_most(most * level / share)}; 0 turns the floor off"
    )


def _without_floors(layers: Sequence[PrunableLayer], block: Block, floor: float) -> float:
    """The share of weights, or of MACs, that may be pruned while each layer keeps the share `floor` of its blocks."""
    whole = stays = 0.0
    for layer in layers:
        outputs, inputs, *taps = _outputs_first(layer.weights, layer).shape
        grid = (-(-outputs // block.outputs), -(-inputs // block.inputs), *taps)
        weights = floor_count(grid, group_rows(block.outputs), floor) * min(block.outputs, outputs)
        whole += layer.weights.size * layer.positions
        stays += min(weights * min(block.inputs, inputs), layer.weights.size) * layer.positions
    return 1.0 - stays / whole


def _outputs_first(units: Array, layer: PrunableLayer) -> Array:
    return units.swapaxes(0, 1) if layer.transposed else units
