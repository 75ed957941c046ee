"""The training that most kinds of trial have in common."""

from collections.abc import Mapping

from torch import Tensor

from lth_deploy.mask import Masks
from lth_deploy.pruning.ranking.criteria import CRITERIA
from lth_deploy.pruning.ranking.signals import SumMovement
from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.pruning.search.restart import TrainingSegment, segment_of
from lth_deploy.training.report_steps import ReportEpochs
from lth_deploy.training.session import TrialSession
from lth_deploy.training.state import TrainingState


class TrialTraining:
    """The training of one trial: a fresh network in a session, and the segment of steps that it runs."""

    def __init__(self, context: SearchContext, plan: TrialPlan, masks: Masks) -> None:
        self._context = context
        recipe, device = context.recipe, context.device
        self.segment: TrainingSegment = segment_of(
            plan, recipe, context.total_steps, context.rewind_step, context.trials.state
        )
        model, trial = context.trials.fresh().to(device), context.run.trial(plan.name)
        held = context.trials.training_masks(masks)
        self.session: TrialSession = context.new_session(recipe.training, device, model, trial, held)
        self._movement: SumMovement | None = None
        restarted = recipe.source is None and recipe.pruning.restart == "weights"
        self._rewinds = restarted and plan.kind in ("ticket", "random", "dense_control")

    def sum_movement(self) -> None:
        """Let the training remember the movement of its weights, where the criterion ranks by it."""
        if CRITERIA.get(self._context.recipe.pruning.criterion).signal != "movement":
            return
        model = self.session.model
        self._movement = SumMovement(model, [layer.name for layer in self._context.trials.scoped(model)])
        self.session.add(self._movement)

    def run(self) -> float:
        """Train, and return the seconds that it took."""
        if self._rewinds:
            self._context.callbacks.rewind(self.session.trial.name, self._context.rewind_step)
        return train(self._context, self.session, self.segment)

    def final_state(self, masks: Masks) -> TrainingState:
        """The state after the last step, with exact zeros where `masks` prune."""
        memory = self._movement.memory() if self._movement else None
        state = TrainingState.capture(self.segment.steps.stop, self.session.model, memory=memory)
        return state.masked(self._context.trials.training_masks(masks))


def train(context: SearchContext, session: TrialSession, segment: TrainingSegment) -> float:
    """Run a segment of steps in `session` with the batches and the deadline of the search; return its seconds."""
    callbacks, name = context.callbacks, session.trial.name
    if callbacks.members:
        report_masks(context, name, segment.steps.start, session.masks)
        session.add(ReportEpochs(callbacks, name, segment.steps, context.steps_per_epoch, segment.rate))
        session.on_checkpoint = lambda step: callbacks.checkpoint(name, step, session.trial.checkpoint)
    return session.run(segment.start, segment.steps, segment.rate, context.batches, context.deadline)


def report_masks(context: SearchContext, trial: str, step: int, masks: Mapping[str, Tensor]) -> None:
    """Let callbacks know how much of each layer is pruned from `step` on."""
    if not masks or not context.callbacks.members:
        return
    zeros = {name: int(mask.numel() - mask.count_nonzero()) for name, mask in masks.items()}
    shares = {name: zeros[name] / max(1, mask.numel()) for name, mask in masks.items()}
    everything = sum(zeros.values()) / max(1, sum(mask.numel() for mask in masks.values()))
    context.callbacks.prune(trial, step, {**shares, "all": everything})


def train_masked(context: SearchContext, plan: TrialPlan, masks: Masks) -> Outcome:
    """The trial whose masks hold from the first step to the last."""
    training = TrialTraining(context, plan, masks)
    training.sum_movement()
    seconds = training.run()
    return Outcome(training.session.model, masks, training.final_state(masks), training.segment.steps, seconds)
