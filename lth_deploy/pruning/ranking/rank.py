"""From a model and a level to masks: measure what the criterion looks at, score, and let the lowest fall."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lth_deploy.config.search_spec import PruningSpec
from lth_deploy.mask import Masks, sparsity
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.allocation import prune, zero_macs
from lth_deploy.pruning.ranking.criteria import CRITERIA, Signal
from lth_deploy.pruning.ranking.signals import Signals, movement
from lth_deploy.structures import STRUCTURES, Groups

Measure = Callable[[Signal, nn.Module], Signals]
"""Measures a signal on a model, which it leaves as it is."""


@dataclass(frozen=True)
class Ranking:
    """How a recipe chooses which weights fall.

    layers: the prunable layers of a model with its weights and signals. measure: see `Measure`; movement is not
    measured but remembered by the training before.
    """

    spec: PruningSpec
    seed: int
    layers: Callable[[nn.Module, Signals], list[PrunableLayer]]
    measure: Measure

    def masks(self, model: nn.Module, before: Masks, target: float, memory: Mapping[str, Tensor]) -> Masks:
        """Masks of the sparsity `target`, a subset of `before`.

        Args:
            model: holds the weights to rank; left as it is.
            before: the masks so far.
            target: what the allocation counts, as a share.
            memory: what the training of `model` remembers.

        Raises:
            RecipeError: `before` has more zeros than `target`, or the floors of the layers keep more.
            TrainingError: a weight or a score is not finite.
        """
        criterion, structure = CRITERIA.get(self.spec.criterion), STRUCTURES[self.spec.structure]
        rounds = 1 if isinstance(structure, Groups) else criterion.rounds
        masks, start = before, self._reached(model, before)
        for number in range(1, rounds + 1):
            keep = (1 - start) * ((1 - target) / (1 - start)) ** (number / rounds) if number < rounds else 1 - target
            twin = _masked(model, masks)
            layers = self.layers(twin, self._signals(criterion.signal, twin, memory))
            masks = prune(
                layers,
                masks,
                1 - keep,
                criterion,
                self.spec.allocation,
                structure,
                self.spec.block_score,
                self.seed,
                self.spec.keep_at_least,
            )
        return masks

    def _reached(self, model: nn.Module, masks: Masks) -> float:
        if self.spec.allocation == "macs":
            return zero_macs(self.layers(model, {}), masks)
        return sparsity(masks)

    def _signals(self, signal: Signal | None, model: nn.Module, memory: Mapping[str, Tensor]) -> Signals:
        if signal is None:
            return {}
        return movement(memory) if signal == "movement" else self.measure(signal, model)


def ones(layers: list[PrunableLayer]) -> Masks:
    """Masks that keep everything."""
    return {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in layers}


def _masked(model: nn.Module, masks: Masks) -> nn.Module:
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = twin.get_parameter(name)
            parameter.masked_fill_(~torch.from_numpy(mask).to(parameter.device), 0)
    return twin
