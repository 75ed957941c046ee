"""Tickets without training: the dense weights, pruned and solved for on a few images."""

import time

from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.pruning.search.post_training import reconstruct
from lth_deploy.run.directory import truncate_metrics
from lth_deploy.training.state import TrainingState


def run_post_training(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Reconstruct the dense network at the plan's sparsity; there is nothing to resume."""
    began, trials, pruning = time.monotonic(), context.trials, context.recipe.pruning
    trial, total = context.run.trial(plan.name), context.total_steps
    dense = trials.trained("dense").to(context.device)
    layers, images = trials.scoped(dense), context.images(pruning.calibration_images)
    share = trials.share(plan.sparsity, dense)
    model, masks = reconstruct(dense, layers, images, share, pruning.structure)
    context.masks.save(trial, masks)
    truncate_metrics(trial.metrics, 0)  # there are no metrics, but every trial has the file
    state = TrainingState.capture(total, model).masked(trials.training_masks(masks))
    return Outcome(model, masks, state, range(total, total), time.monotonic() - began)
