"""Levels that no mask can reach are refused before anything is trained."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.pruning.accounting import prunable_share
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers
from lth_deploy.pruning.ranking.filters import check_reachable
from lth_deploy.pruning.ranking.layer_floors import check_floor
from lth_deploy.pruning.scope import ScopedLayer, ranked_layers
from lth_deploy.structures import STRUCTURES, Block, Groups

Positions = Callable[[nn.Module], Mapping[str, float]]


def check_levels(
    recipe: Recipe, model: nn.Module, layers: Sequence[ScopedLayer], positions: Positions | None = None
) -> None:
    """Hold the levels of `recipe` against the `layers` of `model` that may be pruned; leaves it in evaluation mode.

    Shares of multiplications need `positions`, multiply positions of a model, and wait for those.

    Raises:
        RecipeError: a level is beyond them; the message has the most that can be reached.
    """
    pruning = recipe.pruning
    shares = {level: prunable_share(level, pruning, model, layers) for level in pruning.level_list()}
    macs, structure = pruning.allocation == "macs", STRUCTURES[pruning.structure]
    if isinstance(structure, Groups) or recipe.source is not None or (macs and positions is None):
        return
    if pruning.schedule == "post_training":
        return  # the reconstruction has bounds of its own
    counted = positions(model) if macs and positions else dict.fromkeys((layer.name for layer in layers), 1.0)
    if isinstance(structure, Block):
        ranked = ranked_layers(layers, counted)
        for level, share in shares.items():
            check_floor(level, share, ranked, structure, pruning.keep_at_least)
        return
    units = ranked_layers(layers, counted, coupled=coupled_layers(model, layers))
    for level, share in shares.items():
        check_reachable(level, share, units, pruning.allocation)
