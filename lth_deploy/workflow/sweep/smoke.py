"""`--smoke` of a sweep: every row in two steps on generated data, from the tickets of rows that were cut down alike."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lth_deploy.config.recipe import Recipe
from lth_deploy.run.remote.sweep_mirror import INITIAL
from lth_deploy.workflow.search.smoke import GENTLE_LR, smoke_recipe
from lth_deploy.workflow.sweep.rows import SweepRow


def smoke_rows(rows: Sequence[SweepRow], out: Path) -> list[SweepRow]:
    """The rows with the smoke's recipes; their first weights are written below `out`."""
    out = out.resolve()  # a recipe's paths begin at its own folder
    needed_levels: dict[str, set[float]] = {}
    for row in rows:
        for need in row.needs:
            needed_levels.setdefault(need, set()).add(row.recipe.pruning.level_list()[-1])
    return [replace(row, recipe=_smoke(row, needed_levels, out)) for row in rows]


def _smoke(row: SweepRow, needed_levels: Mapping[str, set[float]], out: Path) -> Recipe:
    recipe = row.recipe
    # A run of this sweep is a source already; others are made, as `find-ticket --smoke` does.
    without_source = recipe.model_copy(update={"source": None}) if row.needs else recipe
    small = smoke_recipe(without_source, out / INITIAL / f"{_first_weights(recipe)}.safetensors")
    levels = sorted({*needed_levels.get(row.id, ()), *small.pruning.level_list()})
    update: dict[str, object] = {
        "name": recipe.name,
        "pruning": small.pruning.model_copy(update={"levels": levels, **_early(recipe)}),
        "controls": recipe.controls,
        "source": recipe.source if row.needs else small.source,
    }
    if row.id in needed_levels:
        # Two steps at a full rate from scratch would leave weights that frozen norms blow up.
        gentle = small.training.optimizer.model_copy(update={"lr": GENTLE_LR})
        update["training"] = small.training.model_copy(update={"optimizer": gentle})
    return small.model_copy(update=update)


def _first_weights(recipe: Recipe) -> str:
    """The same for rows of one network and seed, which begin with the same weights."""
    return hashlib.sha256(repr((recipe.detector, recipe.training.seed)).encode()).hexdigest()[:12]


def _early(recipe: Recipe) -> dict[str, object]:
    early = recipe.pruning.early_masks
    if early is None:
        return {}
    return {"early_masks": early.model_copy(update={"every": 1, "take": None if early.take is None else 1})}
