"""The mask of each trial: ranked, taken over from a source, permuted, or its parent's."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from lth_deploy.mask import Masks, load_masks, save_masks, sparsity
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.rank import Measure, Ranking, ones
from lth_deploy.pruning.ranking.signals import Signals
from lth_deploy.pruning.search.control_masks import permuted
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.pruning.search.trials import Trials
from lth_deploy.run.directory import Trial
from lth_deploy.structures import STRUCTURES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialMasks:
    """Makes the masks of a search's trials.

    measure: what criteria that depend on data look at, on a model. positions: multiply positions of a model.
    """

    trials: Trials
    measure: Measure
    positions: Callable[[nn.Module], Mapping[str, float]]

    def begin(self, plan: TrialPlan) -> Masks:
        """The mask that a trial begins with: read back if an interrupted call made it, else made now and saved."""
        if plan.kind in ("dense", "dense_control"):
            return {}
        run, recipe = self.trials.run, self.trials.recipe
        if is_gradual(plan, self.trials):
            return ones(self.trials.layers(self.trials.fresh(), self.trials.positions()))
        trial, parent = run.trial(plan.name), run.trial(plan.parent or "")
        if run.is_committed(trial.mask):
            return self.trials.masks(trial)
        if plan.kind == "ticket":
            masks = self._transferred(plan) if recipe.source else self._pruned(plan)
        elif run.is_committed(parent.mask):
            masks = self._control(plan)
        else:
            return {}  # a dense trial, to be quantized
        self.save(trial, masks)
        return masks

    def save(self, trial: Trial, masks: Masks) -> None:
        """Make `masks` those of `trial`."""
        save_masks(trial.mask, masks)
        self.trials.run.commit([trial.mask])
        logger.info("%s: %.2f %% of the prunable weights are zero", trial.name, 100 * sparsity(masks))
        for name in (name for name, mask in masks.items() if not mask.any()):
            logger.warning(
                "%s: nothing is left of %s; what comes after it cannot see the image there", trial.name, name
            )

    def ranking(self, names: Collection[str] | None = None) -> Ranking:
        """How masks are made, over all prunable layers or those called `names`."""
        positions = self.trials.positions()

        def layers(model: nn.Module, signals: Signals) -> list[PrunableLayer]:
            found = self.trials.layers(model, positions, signals)
            return [one for one in found if names is None or one.name in names]

        return Ranking(self.trials.recipe.pruning, self.trials.recipe.training.seed, layers, self.measure)

    def of_weights(self, model: nn.Module, levels: Sequence[float]) -> list[Masks]:
        """The masks of one shot at each level from the weights of `model`, which is in the middle of its training."""
        pruning, seed = self.trials.recipe.pruning, self.trials.recipe.training.seed
        positions: Mapping[str, float] = dict.fromkeys((layer.name for layer in self.trials.scoped(model)), 1.0)
        if pruning.allocation == "macs":
            positions = self.positions(deepcopy(model))  # a training goes on with a model that nothing has touched
        ranking = Ranking(pruning, seed, lambda one, signals: self.trials.layers(one, positions, signals), self.measure)
        before = ones(self.trials.layers(model, positions))
        return [ranking.masks(model, before, self.trials.share(level, model), {}) for level in levels]

    def _early(self, plan: TrialPlan, step: int) -> Masks:
        """The masks that the dense network had after `step` steps."""
        file = EarlyFiles(self.trials.run.trial("dense")).mask(step, plan.sparsity)
        self.trials.run.verify(file)
        return load_masks(file)

    def _pruned(self, plan: TrialPlan) -> Masks:
        early = self.trials.recipe.pruning.early_masks
        if early is not None and early.take is not None:
            return self._early(plan, early.take)
        trials, parent = self.trials, self.trials.run.trial(plan.parent or "dense")
        state = trials.state("initial" if trials.recipe.pruning.ranked == "initial" else parent.name)
        model = trials.fresh()
        state.restore(model)
        saved = trials.run.is_committed(parent.mask)
        before = trials.masks(parent) if saved else ones(trials.layers(model, trials.positions()))
        return self.ranking().masks(model, before, trials.share(plan.sparsity, model), state.memory)

    def _transferred(self, plan: TrialPlan) -> Masks:
        """The source's masks; layers that it lacks are left whole, or pruned as if they were the whole network."""
        trials, source = self.trials, self.trials.recipe.source
        transfer, model = trials.transfer(plan.name), trials.trained("dense")
        layers: Mapping[str, PrunableLayer] = {one.name: one for one in trials.layers(model, trials.positions())}
        rest = ones([layers[name] for name in transfer.missing])
        if rest and source is not None and source.missing == "direct":
            rest = self.ranking(set(rest)).masks(model, rest, plan.sparsity, trials.state("dense").memory)
        found = {**transfer.masks, **rest}
        return {name: found[name] for name in layers}

    def _control(self, plan: TrialPlan) -> Masks:
        trials, ticket = self.trials, self.trials.masks(self.trials.run.trial(plan.parent or ""))
        if plan.kind in ("reinit", "int8"):
            return ticket
        transposed = frozenset(layer.name for layer in trials.scoped(trials.fresh()) if layer.transposed)
        structure, seed = STRUCTURES[trials.recipe.pruning.structure], trials.recipe.training.seed
        return permuted(ticket, structure, transposed, seed, trials.tied)


def is_gradual(plan: TrialPlan, trials: Trials) -> bool:
    """Whether the mask of a trial comes while it trains."""
    return plan.kind == "ticket" and trials.recipe.pruning.schedule == "cubic"
