"""Whether the rows of a sweep can take tickets from each other, before any of them is searched."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy.errors import DataError, RecipeError
from lth_deploy.workflow.sweep.rows import SweepRow

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.config.recipe import Recipe
    from lth_deploy.config.search_spec import SourceSpec


def check_sources(rows: Sequence[SweepRow]) -> None:
    """Refuse rows whose source will have no ticket of a level, or one that does not fit.

    Raises:
        DataError: layers differ; with names and shapes on both sides, and the parts that fit.
        RecipeError: the source has no such level, or prunes what the row leaves dense.
    """
    by_run = {row.place: row for row in rows}
    held: set[str] = set()
    for row in rows:
        taken = row.recipe.source
        source = by_run.get(taken.run) if taken else None
        if taken is None or source is None:
            continue  # the tickets of other runs are there, and held against the row's network when it begins
        sides = [(one.recipe.detector, one.recipe.pruning) for one in (row, source)]
        pair = repr((sides, taken))
        if pair not in held:
            _check(row, taken, source)
        held.add(pair)


def _check(row: SweepRow, taken: "SourceSpec", source: SweepRow) -> None:
    from lth_deploy.pruning.scope import layers_of
    from lth_deploy.pruning.search.plan import level_name
    from lth_deploy.pruning.search.transfer import Ticket, fit

    searched = {level_name("level", level) for level in source.recipe.pruning.level_list()}
    missing = [level for level in row.recipe.pruning.level_list() if level_name("level", level) not in searched]
    if missing:
        raise RecipeError(
            f"row '{row.id}' takes tickets of {_listed(missing)} zeros from '{source.id}', which searches those of "
            f"{_listed(source.recipe.pruning.level_list())}; let pruning.levels of the two agree"
        )
    theirs, ours = _network(source.recipe), _network(row.recipe)
    pruned = layers_of(theirs, source.recipe.pruning)
    zeros = {layer.name: np.zeros(theirs.get_parameter(layer.name).shape, np.bool_) for layer in pruned}
    ticket = Ticket(f"the ticket of '{source.id}'", zeros, dict(theirs.state_dict()))
    try:
        fit(ticket, ours, layers_of(ours, row.recipe.pruning), taken)
    except (DataError, RecipeError) as error:
        raise type(error)(f"row '{row.id}': {error}") from error


def _listed(levels: Sequence[float]) -> str:
    return ", ".join(f"{100 * level:.6g} %" for level in levels)


def _network(recipe: "Recipe") -> "nn.Module":
    """The network of a recipe for one class: final predictors only go along where they fit, and tell nothing here."""
    from lth_deploy.detectors import build_detector

    return build_detector(recipe.detector, 1, 1, load_weights=False)
