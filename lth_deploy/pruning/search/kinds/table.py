"""Which function carries out a planned trial."""

from lth_deploy.config.recipe import Recipe
from lth_deploy.pruning.search.kinds.control import run_random, run_reinit
from lth_deploy.pruning.search.kinds.dense import run_dense, run_dense_control
from lth_deploy.pruning.search.kinds.int8 import run_int8
from lth_deploy.pruning.search.kinds.kind import RunTrial
from lth_deploy.pruning.search.kinds.post_training import run_post_training
from lth_deploy.pruning.search.kinds.ticket import run_gradual_ticket, run_ticket
from lth_deploy.pruning.search.plan import Kind, TrialPlan

KINDS: dict[Kind, RunTrial] = {
    "dense": run_dense,
    "dense_control": run_dense_control,
    "ticket": run_ticket,
    "random": run_random,
    "reinit": run_reinit,
    "int8": run_int8,
}

TICKETS_BY_SCHEDULE: dict[str, RunTrial] = {
    "cubic": run_gradual_ticket,
    "progressive": run_gradual_ticket,
    "post_training": run_post_training,
}
"""Schedules of pruning whose tickets are made in a way of their own."""


def kind_of(plan: TrialPlan, recipe: Recipe) -> RunTrial:
    """The function for `plan` in a search with `recipe`."""
    if plan.kind == "ticket":
        return TICKETS_BY_SCHEDULE.get(recipe.pruning.schedule, run_ticket)
    return KINDS[plan.kind]
