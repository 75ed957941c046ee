"""INT8 twins: a finished trial, fine-tuned with fake quantization under its own mask."""

from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.kinds.control import parent_masks
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.kinds.training import train
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.pruning.search.quantized import quantized_start
from lth_deploy.training.session import Session
from lth_deploy.training.state import TrainingState


def run_int8(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Fold and calibrate the parent's network, then train it on."""
    recipe, run, trials = context.recipe, context.run, context.trials
    masks = context.masks.read_or_make(plan.name, lambda: parent_masks(context, plan))
    start = quantized_start(
        trials.trained(plan.parent or ""),
        recipe,
        context.device,
        context.batches,
        context.total_steps,
        context.quantization_steps,
    )
    enforced = trials.training_masks(masks)
    session = Session(recipe.training, context.device, start.model, run.trial(plan.name), enforced)
    session.add(start.freeze)
    seconds = train(context, session, start.segment)
    steps = start.segment.steps
    state = TrainingState.capture(steps.stop, session.model).masked(enforced)
    return Outcome(session.model, masks, state, steps, seconds)
