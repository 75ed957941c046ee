"""Modifiers of the learning rate as optimizer and schedule of a training."""

import math
from typing import Any

from lth_deploy.config.sparseml.document import Modifier, SparseMLRecipe
from lth_deploy.config.sparseml.values import number, refuse

_NEAR = {"cosine": "cosine", "linear": "cosine", "cyclic_linear": "one_cycle"}


def learning_rate(recipe: SparseMLRecipe, epochs: float, notes: list[str]) -> dict[str, Any]:
    """The keys of a training of `epochs` epochs that give its learning rate; none where the recipe says nothing.

    Raises:
        RecipeError: the rate takes a course that no schedule here has.
    """
    fixed = [one for one in recipe.modifiers if one.name == "SetLearningRateModifier"]
    moving = [one for one in recipe.modifiers if one.name == "LearningRateFunctionModifier"]
    if moving:
        return _moving(recipe, moving, fixed, notes)
    if not fixed:
        return {}
    fixed.sort(key=lambda one: number(recipe, one, "start_epoch", default=-1.0))
    rates = [number(recipe, one, "learning_rate") for one in fixed]
    found: dict[str, Any] = {"optimizer": {"lr": rates[0]}, "schedule": {"name": "constant"}}
    if len(rates) > 1:
        found["schedule"] = _steps(recipe, fixed, rates, epochs)
    return found


def _steps(recipe: SparseMLRecipe, fixed: list[Modifier], rates: list[float], epochs: float) -> dict[str, Any]:
    gamma = rates[1] / rates[0] if rates[0] > 0 else 0.0
    shares = []
    for one, before, rate in zip(fixed[1:], rates[:-1], rates[1:], strict=True):
        if not 0 < gamma <= 1 or not math.isclose(rate, gamma * before, rel_tol=1e-6):
            refuse(recipe, one, "learning_rate", "a schedule here multiplies the rate by one factor at each of its "
                   "milestones, and this step has another; make the ratios of the rates equal, at most 1")  # fmt: skip
        share = number(recipe, one, "start_epoch") / epochs
        if not 0 < share < 1:
            refuse(recipe, one, "start_epoch", f"a step of the rate lies within the {epochs:g} epochs of the training")
        shares.append(round(share, 6))
    return {"name": "step", "milestones": shares, "gamma": gamma}


def _moving(recipe: SparseMLRecipe, moving: list[Modifier], fixed: list[Modifier], notes: list[str]) -> dict[str, Any]:
    # A rise from a small rate before the main function is a warm-up.
    falling = [one for one in moving if number(recipe, one, "final_lr") < number(recipe, one, "init_lr")]
    main = (falling or moving)[-1]
    for one in (*moving, *fixed):
        if one is not main:
            notes.append(
                f"line {one.line}: {one.name} is left out, since a training has one function of the learning rate; set "
                "training.schedule.warmup_steps if it is a warm-up"
            )
    function = main.values.get("lr_func")
    if function not in _NEAR:
        refuse(recipe, main, "lr_func", f"{function!r:.40} has no counterpart; take cosine or linear")
    name, peak, last = _NEAR[function], number(recipe, main, "init_lr"), number(recipe, main, "final_lr")
    if function != name:
        notes.append(f"line {main.line_of('lr_func')}: the rate's {function} function is approximated by {name}")
    if name == "cosine" and last > 0:
        notes.append(f"line {main.line_of('final_lr')}: the rate ends at {last:g} there, at 0 here")
    return {"optimizer": {"lr": max(peak, last)}, "schedule": {"name": name}}
