"""The plan of a search: which trainings run, in which order, each from what. Pure data from a recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lth_deploy.config.recipe import Recipe

Kind = Literal["dense", "dense_control", "ticket", "random", "reinit", "int8"]


@dataclass(frozen=True)
class TrialPlan:
    """One training.

    sparsity: the level asked for. parent: the trial whose weights are ranked (ticket), or whose mask is taken
    (random, reinit), or which is quantized (int8); None for the dense ones.
    """

    name: str
    kind: Kind
    sparsity: float
    parent: str | None = None


def plan_trials(recipe: Recipe) -> list[TrialPlan]:
    """All trials of a recipe; every parent comes before its children, and each level before the next one's controls."""
    trials = [TrialPlan("dense", "dense", 0.0)]
    if needs_dense_control(recipe):
        trials.append(TrialPlan("dense_control", "dense_control", 0.0, "dense"))
    parent = "dense"
    for level in recipe.pruning.level_list():
        ticket = level_name("level", level)
        trials.append(TrialPlan(ticket, "ticket", level, parent))
        if level in recipe.controls.random:
            trials.append(TrialPlan(level_name("random", level), "random", level, ticket))
        if level in recipe.controls.reinit:
            trials.append(TrialPlan(level_name("reinit", level), "reinit", level, ticket))
        # Rounds go on from the level before; one shot, a gradual training and a source take every level anew.
        parent = ticket if recipe.pruning.schedule == "levels" and recipe.source is None else "dense"
    trials += [TrialPlan(f"{name}_int8", "int8", level, name) for level, name in _quantized(recipe)]
    return trials


def _quantized(recipe: Recipe) -> Iterator[tuple[float, str]]:
    """Level and trial of everything that is to be quantized."""
    for level in sorted(recipe.quantization.levels):
        yield level, level_name("level", level) if level else control_of(recipe)


def needs_dense_control(recipe: Recipe) -> bool:
    """Whether the dense training had fewer steps than a ticket, so that it is no fair control."""
    return recipe.pruning.budget == "full" or recipe.pruning.restart != "weights"


def control_of(recipe: Recipe) -> str:
    """The dense trial that tickets are compared with."""
    return "dense_control" if needs_dense_control(recipe) else "dense"


def level_name(prefix: str, level: float) -> str:
    """The name of a trial, for instance level_80 for a sparsity of 0.8."""
    return f"{prefix}_{100 * level:.6g}"
