"""What a kind of trial is: a function from a plan to the network that the trial ends with."""

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from lth_deploy.mask import Masks
from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.training.state import TrainingState


@dataclass(frozen=True)
class Outcome:
    """What a trial ended with.

    model: to be scored. masks: of its prunable layers; none of a dense trial. state: what is saved.
    steps: of the training. positions: measured on this trial's model; None means those of the dense trial.
    """

    model: nn.Module
    masks: Masks
    state: TrainingState
    steps: range
    seconds: float
    positions: dict[str, float] | None = None


class RunTrial(Protocol):
    """Carries out one trial, or goes on with what an interrupted call left of it."""

    def __call__(self, context: SearchContext, plan: TrialPlan) -> Outcome:
        """The trial's outcome; masks and what else outlives an interruption are committed on the way.

        Raises:
            StopRequested: the deadline passed; a later call goes on from there.
            TrainingError: a loss or a weight stopped being finite.
        """
