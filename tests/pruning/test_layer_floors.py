"""No layer falls below its floor, levels stay exact, and where no layer would collapse nothing changes."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from lth_deploy.errors import RecipeError
from lth_deploy.layer_floor import floor_count, floor_units, group_rows, is_below_floor
from lth_deploy.mask import Masks
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.allocation import prune, zero_macs
from lth_deploy.pruning.ranking.block_scores import block_scores
from lth_deploy.pruning.ranking.budget import Allocation
from lth_deploy.pruning.ranking.criteria import magnitude
from lth_deploy.pruning.ranking.layer_floors import check_floor, within_capacities
from lth_deploy.structures import BLOCKS

ALLOCATIONS: tuple[Allocation, ...] = ("global", "per_layer", "erk", "macs")
SHARE = 0.02


def network() -> list[PrunableLayer]:
    """Layers of weights that differ tenfold in size, the largest layer with the smallest."""
    rng = np.random.default_rng(0)

    def layer(name: str, shape: tuple[int, ...], scale: float, positions: float, transposed: bool) -> PrunableLayer:
        return PrunableLayer(name, rng.normal(0, scale, shape).astype(np.float32), transposed, positions)

    return [
        layer("stem", (64, 3, 3, 3), 0.3, 400, False),
        layer("body", (64, 64, 3, 3), 0.1, 100, False),
        layer("deep", (128, 64, 3, 3), 0.02, 25, False),
        layer("up", (64, 40, 2, 2), 0.03, 25, True),
        layer("head", (20, 64), 0.05, 1, False),
    ]


def ones(layers: list[PrunableLayer]) -> Masks:
    return {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in layers}


def outputs_first(layer: PrunableLayer, mask: np.ndarray) -> np.ndarray:
    return mask.swapaxes(0, 1) if layer.transposed else mask


def zeros_of(masks: Masks) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


@pytest.mark.parametrize("structure", ["16x4", "32x4"])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_no_layer_collapses_and_every_group_of_outputs_keeps_a_block(structure: str, allocation: Allocation) -> None:
    layers, block = network(), BLOCKS[structure]
    masks = prune(layers, ones(layers), 0.9, magnitude, allocation, block, keep_at_least=SHARE)
    for layer in layers:
        mask = outputs_first(layer, masks[layer.name])
        groups = [mask[first : first + block.outputs].any() for first in range(0, len(mask), block.outputs)]
        assert all(groups), layer.name
        kept = outputs_first(layer, block_scores(masks[layer.name].astype(np.float32), block, layer.transposed)[0]) > 0
        assert kept.sum() >= int(SHARE * kept.size), layer.name
    total = sum(layer.weights.size for layer in layers)
    if allocation == "macs":
        most = max(layer.positions for layer in layers) * block.size
        macs = sum(layer.weights.size * layer.positions for layer in layers)
        assert 0 <= zero_macs(layers, masks) - 0.9 + 1e-12 < most / macs
    else:
        overshoot = block.size * (1 if allocation == "global" else len(layers))
        assert 0 <= zeros_of(masks) - round(0.9 * total) < overshoot


@pytest.mark.parametrize("structure", ["16x4", "32x4"])
def test_without_a_floor_this_network_collapses(structure: str) -> None:
    layers = network()
    masks = prune(layers, ones(layers), 0.9, magnitude, "global", BLOCKS[structure])
    assert not masks["deep"].any()


@pytest.mark.parametrize("structure", BLOCKS)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_where_no_layer_would_collapse_nothing_changes(structure: str, allocation: Allocation) -> None:
    layers = [replace(one, weights=one.weights / one.weights.std()) for one in network()]
    plain = prune(layers, ones(layers), 0.5, magnitude, allocation, BLOCKS[structure])
    held = prune(layers, ones(layers), 0.5, magnitude, allocation, BLOCKS[structure], keep_at_least=0.01)
    assert all(np.array_equal(held[name], mask) for name, mask in plain.items())


def test_single_weights_reach_the_level_exactly_with_a_floor(caplog: pytest.LogCaptureFixture) -> None:
    layers = network()
    with caplog.at_level(logging.INFO):
        masks = prune(layers, ones(layers), 0.9, magnitude, "global", BLOCKS["single"], keep_at_least=0.05)
    assert zeros_of(masks) == round(0.9 * sum(layer.weights.size for layer in layers))
    assert masks["deep"].sum() == int(0.05 * masks["deep"].size)
    assert "pruning.keep_at_least: 3 of 5 layers would have kept less than 5 % of their weights" in caplog.text
    assert caplog.text.strip().endswith(": deep, up, head")


def test_the_best_blocks_are_those_that_stay() -> None:
    layers = network()
    masks = prune(layers, ones(layers), 0.9, magnitude, "global", BLOCKS["16x4"], keep_at_least=SHARE)
    scores, kept = (
        block_scores(values, BLOCKS["16x4"], False)[0].reshape(8, -1)
        for values in (np.abs(layers[2].weights), masks["deep"].astype(np.float32))
    )
    assert (kept[np.arange(8), scores.argmax(axis=1)] == 1).all()
    kept[np.arange(8), scores.argmax(axis=1)] = 0
    assert kept.sum() == int(SHARE * kept.size) - 8
    scores[np.arange(8), scores.argmax(axis=1)] = 0
    assert scores[kept == 1].min() >= scores[kept == 0].max()


def test_levels_go_on_from_each_other_and_never_revive_a_block() -> None:
    layers, block = network(), BLOCKS["16x4"]
    before = ones(layers)
    for level in (0.5, 0.8, 0.9):
        after = prune(layers, before, level, magnitude, "global", block, keep_at_least=SHARE)
        assert all(not (mask & ~before[name]).any() for name, mask in after.items())
        before = after
    assert all(mask.any() for mask in before.values())


def test_the_floor_is_no_more_than_the_level_keeps_of_all() -> None:
    """So every level that single weights reach is reached."""
    layers = network()
    masks = prune(layers, ones(layers), 0.95, magnitude, "global", BLOCKS["single"], keep_at_least=0.5)
    assert zeros_of(masks) == round(0.95 * sum(layer.weights.size for layer in layers))
    assert all(abs(mask.mean() - 0.05) < 1e-2 for mask in masks.values())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_level_that_the_floors_do_not_allow_is_refused(allocation: Allocation) -> None:
    layers, block = network(), BLOCKS["32x4"]
    with pytest.raises(RecipeError, match=r"floors of the layers .* lower the level, or the floor"):
        prune(layers, ones(layers), 0.997, magnitude, allocation, block, keep_at_least=0.01)
    with pytest.raises(
        RecipeError, match=r"0.997 cannot be reached in blocks of 32x4.*0 turns the floor off"
    ) as refused:
        check_floor(0.997, 0.997, [replace(one, positions=1.0) for one in layers], block, 0.01)
    most = float(str(refused.value).split("reached is ")[1].split(";")[0])
    check_floor(most, most, [replace(one, positions=1.0) for one in layers], block, 0.01)
    check_floor(0.997, 0.997, layers, block, 0.0)
    if allocation == "global":
        reached = prune(layers, ones(layers), most, magnitude, allocation, block, keep_at_least=0.01)
        assert zeros_of(reached) >= round(most * sum(layer.weights.size for layer in layers))


def test_what_a_layer_has_too_little_of_comes_from_the_others() -> None:
    assert within_capacities([10, 20, 30], [100, 100, 100]) == [10, 20, 30]
    assert within_capacities([10, 20, 30], [4, 40, 40]) == [4, 24, 32]
    assert sum(within_capacities([7, 7, 7], [0, 11, 30])) == 21
    assert within_capacities([5, 5], [5, 4]) == [5, 4]


def test_a_floor_of_equal_scores_is_the_last_of_each_group() -> None:
    scores, alive = np.ones((4, 3)), np.ones((4, 3), np.bool_)
    stays = floor_units(scores, alive, 2, 0.0)
    assert np.argwhere(stays).tolist() == [[1, 2], [3, 2]]
    assert floor_units(scores, alive, 2, 0.5).sum() == 6
    alive[2:] = False
    assert np.argwhere(floor_units(scores, alive, 2, 0.0)).tolist() == [[1, 2]]
    assert not is_below_floor(stays & alive, alive, 2, 0.0)
    assert is_below_floor(np.zeros_like(alive), alive, 2, 0.0)
    assert is_below_floor(stays, np.ones_like(alive), 2, 0.5)


def test_groups_are_of_sixteen_outputs_or_of_a_block() -> None:
    assert [group_rows(block.outputs) for block in BLOCKS.values()] == [
        max(1, 16 // b.outputs) for b in BLOCKS.values()
    ]
    assert floor_count((4, 16, 9), 1, 0.01) == 5
    assert floor_count((4, 16, 1), 1, 0.01) == 4
    assert floor_count((20, 16, 1), 16, 0.0) == 2
