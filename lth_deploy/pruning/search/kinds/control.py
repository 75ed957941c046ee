"""Controls of a ticket: its zeros at random positions, or its mask on new weights."""

from lth_deploy.mask import Masks
from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.control_masks import permuted
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.kinds.training import train_masked
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.structures import STRUCTURES


def run_random(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Train under the ticket's mask, permuted within each layer."""

    def make() -> Masks:
        trials, recipe = context.trials, context.recipe
        transposed = frozenset(layer.name for layer in trials.scoped(trials.fresh()) if layer.transposed)
        structure, seed = STRUCTURES[recipe.pruning.structure], recipe.training.seed
        return permuted(parent_masks(context, plan), structure, transposed, seed, trials.coupled)

    return train_masked(context, plan, context.masks.read_or_make(plan.name, make))


def run_reinit(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Train under the ticket's mask, from other initial weights."""
    masks = context.masks.read_or_make(plan.name, lambda: parent_masks(context, plan))
    return train_masked(context, plan, masks)


def parent_masks(context: SearchContext, plan: TrialPlan) -> Masks:
    """The masks of the trial that `plan` has as its parent; none of a dense one."""
    parent = context.run.trial(plan.parent or "")
    return context.trials.masks(parent) if context.run.is_committed(parent.mask) else {}
