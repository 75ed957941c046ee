"""The search: a loop over planned trials, each of which is skipped when it is on disk already."""

import logging
import time

from lth_deploy.errors import RecipeError
from lth_deploy.mask import sparsity
from lth_deploy.progress import progress
from lth_deploy.pruning.ranking.allocation import zero_macs
from lth_deploy.pruning.ranking.reachable import check_levels
from lth_deploy.pruning.search.context import Scores, SearchContext
from lth_deploy.pruning.search.gradual import progressive_points
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.kinds.table import kind_of
from lth_deploy.pruning.search.plan import TrialPlan, plan_trials
from lth_deploy.pruning.search.transfer import fit, read_ticket
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.training.hardware import hardware_of

logger = logging.getLogger(__name__)


class Search(SearchContext):
    """A ticket search, which stands on disk after every trial and goes on from there."""

    def check(self) -> None:
        """Refuse before any training what no mask can reach.

        Raises:
            RecipeError: a level is beyond what the prunable layers hold, or the source's ticket prunes other layers.
            DataError: the source is no sound run, or layers of its ticket do not fit.
            UsageError: the source has no ticket of a level.
        """
        model, source, early = self.trials.fresh(), self.recipe.source, self.recipe.pruning.early_masks
        if early is not None and (early.take or early.every) > self.total_steps:
            raise RecipeError(
                f"pruning.early_masks: step {early.take or early.every} is after the end of the training, step "
                f"{self.total_steps}; lower it"
            )
        pruning = self.recipe.pruning
        if pruning.schedule == "progressive":
            start = 0 if pruning.budget == "full" else self.rewind_step
            progressive_points(pruning.progressive, range(start, self.total_steps), 1.0)
        layers = self.trials.scoped(model)
        if source is not None:
            for level in self.recipe.pruning.level_list():
                fit(read_ticket(source, level), model, layers, source)
        check_levels(self.recipe, model, layers, lambda dense: self.positions(dense.to(self.device)))

    def execute(self) -> None:
        """Run every trial of the plan that is not finished yet.

        Raises:
            StopRequested: the deadline passed; a later call goes on from there.
            TrainingError: a loss or a weight stopped being finite.
        """
        plans = plan_trials(self.recipe)
        with progress("trials", total=len(plans)) as step:
            for plan in plans:
                trial = self.run.trial(plan.name)
                if trial.finished:
                    logger.info("%s: already finished", plan.name)
                    # A kill right after the commit leaves it behind.
                    trial.checkpoint.unlink(missing_ok=True)
                else:
                    self._execute(plan)
                step()

    def _execute(self, plan: TrialPlan) -> None:
        trial, outcome = self.run.trial(plan.name), kind_of(plan, self.recipe)(self, plan)
        outcome.state.save(trial.weights)
        result = self._result(plan, outcome)
        trial.commit(result)
        self.callbacks.level(result)

    def _result(self, plan: TrialPlan, outcome: Outcome) -> TrialResult:
        began = time.monotonic()
        scores = self.score(outcome.model)
        logger.info("%s: evaluated in %.0f s: %s", plan.name, time.monotonic() - began, _headline(scores))
        positions = self.trials.positions() if outcome.positions is None else outcome.positions
        layers = self.trials.layers(outcome.model, positions)
        return TrialResult(
            name=plan.name,
            kind=plan.kind,
            sparsity=plan.sparsity,
            parent=plan.parent,
            steps=(outcome.steps.start, outcome.steps.stop),
            seconds=round(outcome.seconds, 2),
            hardware=hardware_of(self.device),
            sparsity_prunable=sparsity(outcome.masks),
            zero_macs=zero_macs(layers, outcome.masks) if outcome.masks else 0.0,
            positions=positions,
            **scores,
        )


def _headline(scores: Scores) -> str:
    parts = []
    for split in ("val", "test"):
        for kind, metrics in (scores.get(split) or {}).items():
            value = metrics["AP"]
            parts.append(f"{split} {kind} AP {'none' if value is None else f'{100 * value:.1f}'}")
    return ", ".join(parts)
