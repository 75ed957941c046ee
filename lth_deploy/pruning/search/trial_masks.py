"""The masks of trials: ranked from weights, saved once, and read back by an interrupted call."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from lth_deploy.mask import Masks, save_masks, sparsity
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.rank import Measure, Ranking, ones
from lth_deploy.pruning.ranking.signals import Signals
from lth_deploy.pruning.search.trials import Trials
from lth_deploy.run.directory import Trial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialMasks:
    """Ranks weights as the recipe says, and keeps the masks of trials.

    measure: the signals that criteria need besides weights, measured on a model. positions: multiplications
    of each weight for one image, by parameter name, measured on a model.
    """

    trials: Trials
    measure: Measure
    positions: Callable[[nn.Module], Mapping[str, float]]

    def read_or_make(self, name: str, make: Callable[[], Masks]) -> Masks:
        """The masks of the trial `name`: read if an interrupted call saved them, else made now and saved.

        A trial whose masks are empty is dense, and has no file of masks.
        """
        trial = self.trials.run.trial(name)
        if self.trials.run.is_committed(trial.mask):
            return self.trials.masks(trial)
        masks = make()
        if masks:
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
            return [layer for layer in found if names is None or layer.name in names]

        return Ranking(self.trials.recipe.pruning, self.trials.recipe.training.seed, layers, self.measure)

    def of_weights(self, model: nn.Module, levels: Sequence[float]) -> list[Masks]:
        """The masks of one shot at each level from the weights of `model`, which is in the middle of its training."""
        pruning, seed = self.trials.recipe.pruning, self.trials.recipe.training.seed
        positions: Mapping[str, float] = dict.fromkeys((layer.name for layer in self.trials.scoped(model)), 1.0)
        if pruning.allocation == "macs":
            positions = self.positions(deepcopy(model))  # measured on a copy: the training goes on with `model`
        ranking = Ranking(pruning, seed, lambda one, signals: self.trials.layers(one, positions, signals), self.measure)
        before = ones(self.trials.layers(model, positions))
        return [ranking.masks(model, before, self.trials.share(level, model), {}) for level in levels]
