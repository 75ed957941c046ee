"""Levels that no mask can reach are refused before anything is trained."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.pruning.accounting import prunable_share
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers
from lth_deploy.pruning.ranking.filters import check_reachable
from lth_deploy.pruning.scope import ScopedLayer, ranked_layers

Positions = Callable[[nn.Module], Mapping[str, float]]


def check_levels(
    recipe: Recipe, model: nn.Module, layers: Sequence[ScopedLayer], positions: Positions | None = None
) -> None:
    """Hold the levels of `recipe` against the `layers` of `model` that may be pruned; leaves it in evaluation mode.

    Shares of multiplications by whole filters need `positions`, multiply positions of a model, and wait for those.

    Raises:
        RecipeError: a level is beyond them; the message has the most that can be reached.
    """
    pruning = recipe.pruning
    shares = {level: prunable_share(level, pruning, model, layers) for level in pruning.level_list()}
    macs = pruning.allocation == "macs"
    if pruning.structure != "filter" or recipe.source is not None or (macs and positions is None):
        return
    counted = positions(model) if macs and positions else dict.fromkeys((layer.name for layer in layers), 1.0)
    units = ranked_layers(layers, counted, coupled=coupled_layers(model, layers))
    for level, share in shares.items():
        check_reachable(level, share, units, pruning.allocation)
