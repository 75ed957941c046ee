"""Which trainings a recipe means, and from which state, over which steps and at which rate each runs."""

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.recipe import Recipe  # noqa: E402
from lth_deploy.config.search_spec import RoundsSpec  # noqa: E402
from lth_deploy.pruning.search.plan import TrialPlan, control_of, plan_trials  # noqa: E402
from lth_deploy.pruning.search.restart import TrainingSegment, segment_of  # noqa: E402
from lth_deploy.training.schedule import rate_at  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import REWIND, TOTAL, toy_recipe  # noqa: E402

STEP_OF = {"initial": 0, "reinit": 0, "rewind": REWIND}


def state_called(name: str) -> TrainingState:
    """A state that says what it is: its only weight is named after it, and it has momentum."""
    return TrainingState(STEP_OF.get(name, TOTAL), {name: torch.zeros(1)}, {f"{name}|momentum_buffer": torch.ones(1)})


def course(plan: TrialPlan, recipe: Recipe) -> TrainingSegment:
    return segment_of(plan, recipe, TOTAL, REWIND, state_called)


def recipe_with(**pruning: Any) -> Recipe:
    return toy_recipe(pruning=pruning, controls={"random": [0.8], "reinit": [0.8]})


def plan_named(recipe: Recipe, name: str) -> TrialPlan:
    return next(plan for plan in plan_trials(recipe) if plan.name == name)


def origin(course: TrainingSegment) -> str:
    return next(iter(course.start.model))


def test_trials_come_after_what_they_need() -> None:
    plans = plan_trials(recipe_with(budget="full"))
    assert [plan.name for plan in plans] == ["dense", "dense_control", "level_50", "level_80", "random_80", "reinit_80"]
    seen: set[str] = set()
    for plan in plans:
        assert plan.parent is None or plan.parent in seen
        seen.add(plan.name)
    assert plan_named(recipe_with(), "level_80").parent == "level_50"
    assert plan_named(recipe_with(), "random_80").parent == "level_80"


@pytest.mark.parametrize(("budget", "control"), [("continue", "dense"), ("full", "dense_control")])
def test_levels_are_quantized_after_all_tickets_are_found(budget: str, control: str) -> None:
    recipe = toy_recipe(pruning={"budget": budget}, quantization={"levels": [0.8, 0]})
    *_, dense, ticket = plan_trials(recipe)
    assert dense == TrialPlan(f"{control}_int8", "int8", 0.0, control)
    assert ticket == TrialPlan("level_80_int8", "int8", 0.8, "level_80")
    assert "int8" not in {plan.kind for plan in plan_trials(toy_recipe())}


@pytest.mark.parametrize("schedule", ["one_shot", "cubic"])
def test_what_is_quantized_is_the_ticket_of_its_level_on_every_schedule(schedule: str) -> None:
    recipe = toy_recipe(pruning={"schedule": schedule}, quantization={"levels": [0.5, 0.8]})
    assert [plan.parent for plan in plan_trials(recipe) if plan.kind == "int8"] == ["level_50", "level_80"]


@pytest.mark.parametrize("schedule", ["one_shot", "cubic"])
def test_one_shot_and_gradual_pruning_take_every_level_from_dense_weights(schedule: str) -> None:
    recipe = recipe_with(schedule=schedule)
    assert [plan.parent for plan in plan_trials(recipe) if plan.kind == "ticket"] == ["dense", "dense"]
    assert plan_named(recipe, "random_80").parent == "level_80"


@pytest.mark.parametrize("restart", ["weights", "learning_rate", "fine_tune"])
@pytest.mark.parametrize("budget", ["continue", "full"])
def test_the_dense_control_has_the_tickets_budget(restart: str, budget: str) -> None:
    recipe = recipe_with(restart=restart, budget=budget)
    control = plan_named(recipe, control_of(recipe))
    ticket = course(plan_named(recipe, "level_50"), recipe)
    if control.kind == "dense":
        # k steps before the rewind point and N - k after it: the very training that the ticket repeats.
        assert restart == "weights"
        assert budget == "continue"
        assert course(control, recipe).steps.stop == ticket.steps.stop
    else:
        same = course(control, recipe)
        assert same.steps == ticket.steps
        assert [same.rate(step) for step in same.steps] == [ticket.rate(step) for step in ticket.steps]


@pytest.mark.parametrize("restart", ["weights", "learning_rate", "fine_tune"])
@pytest.mark.parametrize("budget", ["continue", "full"])
def test_where_a_ticket_starts_and_how_far_it_goes(restart: str, budget: str) -> None:
    recipe = recipe_with(restart=restart, budget=budget)
    steps = range(TOTAL) if budget == "full" else range(REWIND, TOTAL)
    starts = {"level_50": "dense", "level_80": "level_50", "random_80": "dense"}
    for name, trained in starts.items():
        got = course(plan_named(recipe, name), recipe)
        assert origin(got) == ("rewind" if restart == "weights" else trained)
        assert got.steps == steps
        assert got.start.step == steps.start
        # Momentum belongs to the point that is rewound to; a training from its first step has none.
        assert bool(got.start.optimizer) == (restart == "weights" and budget == "continue")


@pytest.mark.parametrize("budget", ["continue", "full"])
def test_the_learning_rate_takes_its_place_on_the_schedule(budget: str) -> None:
    for restart in ("weights", "learning_rate"):
        recipe = recipe_with(restart=restart, budget=budget)
        got = course(plan_named(recipe, "level_50"), recipe)
        schedule, base = recipe.training.schedule, recipe.training.optimizer.lr
        assert [got.rate(s) for s in got.steps] == [rate_at(s, TOTAL, base, schedule) for s in got.steps]


def test_fine_tuning_stays_at_the_last_or_the_given_rate() -> None:
    recipe = recipe_with(restart="fine_tune")
    got = course(plan_named(recipe, "level_50"), recipe)
    last = rate_at(TOTAL - 1, TOTAL, recipe.training.optimizer.lr, recipe.training.schedule)
    assert {got.rate(step) for step in got.steps} == {last}
    recipe = recipe_with(restart="fine_tune", fine_tune_lr=0.125)
    got = course(plan_named(recipe, "level_50"), recipe)
    assert {got.rate(step) for step in got.steps} == {0.125}


def test_the_dense_and_the_reinitialized_start_fresh() -> None:
    recipe = recipe_with()
    assert origin(course(plan_named(recipe, "dense"), recipe)) == "initial"
    assert origin(course(plan_named(recipe, "reinit_80"), recipe)) == "reinit"
    assert course(plan_named(recipe, "reinit_80"), recipe).steps == range(TOTAL)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_rounds_keep_the_same_share_each(rounds: int) -> None:
    """Released code divided by zero for one round; one round is one shot."""
    levels = RoundsSpec(to=0.8, rounds=rounds).levels()
    assert len(levels) == rounds
    assert levels[-1] == 0.8
    kept = [1.0, *(1 - level for level in levels)]
    shares = [after / before for before, after in itertools.pairwise(kept)]
    assert max(shares) - min(shares) < 1e-5
