"""Restart: from which state, at which step and with which learning rate a ticket trains.

Frankle et al. 2020 rewind the weights to step k; Renda et al. 2020 rewind the learning rate only, or fine-tune
at the last learning rate.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lth_deploy.config.recipe import Recipe
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.training.schedule import rate_at
from lth_deploy.training.state import TrainingState


@dataclass(frozen=True)
class TrainingSegment:
    """Where a training starts, which steps it runs, and its learning rate at each."""

    start: TrainingState
    steps: range
    rate: Callable[[int], float]


def segment_of(
    plan: TrialPlan, recipe: Recipe, total: int, rewind_step: int, states: Callable[[str], TrainingState]
) -> TrainingSegment:
    """The training of one trial of a search over `total` steps.

    Args:
        plan: the trial.
        recipe: the recipe.
        total: N, steps of the dense training.
        rewind_step: k.
        states: loads a state by name: "initial", "reinit", "rewind", "source:TRIAL" for the first weights of a trial
            whose ticket comes from another run, or the final state of a trial.
    """
    schedule, base = recipe.training.schedule, recipe.training.optimizer.lr

    def rate(step: int) -> float:
        return rate_at(step, total, base, schedule)

    if plan.kind == "dense":
        return TrainingSegment(states("initial"), range(total), rate)
    if plan.kind == "reinit":
        return TrainingSegment(states("reinit"), range(total), rate)
    if recipe.source is not None:
        ticket = plan.parent if plan.kind == "random" else plan.name
        return TrainingSegment(states(f"source:{ticket}"), range(total), rate)
    restart, full = recipe.pruning.restart, recipe.pruning.budget == "full"
    steps = range(total) if full else range(rewind_step, total)
    if restart == "weights":
        rewound = states("rewind")
        return TrainingSegment(rewound.weights_only() if full else rewound, steps, rate)
    trained = _trained_parent(plan, states)
    if restart == "learning_rate":
        return TrainingSegment(trained.weights_only(steps.start), steps, rate)
    last = recipe.pruning.fine_tune_lr or rate_at(total - 1, total, base, schedule)
    return TrainingSegment(trained.weights_only(steps.start), steps, lambda step: last)


def _trained_parent(plan: TrialPlan, states: Callable[[str], TrainingState]) -> TrainingState:
    # A random control has no trained weights of its own to go on from: it shares those of the dense training,
    # which its mask, unlike the ticket's, was not chosen for.
    return states("dense" if plan.kind in ("random", "dense_control") else plan.parent or "dense")
