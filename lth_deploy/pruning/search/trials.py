"""What the trials of a search stand on: the network, its prunable layers, and the states that trials leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.mask import Masks, load_masks
from lth_deploy.pruning.accounting import prunable_share
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers, with_dependents
from lth_deploy.pruning.ranking.signals import Signals
from lth_deploy.pruning.scope import ScopedLayer, layers_of, ranked_layers
from lth_deploy.pruning.search.plan import plan_trials
from lth_deploy.pruning.search.transfer import Transfer, fit, read_ticket
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.run.trial_result import require_positions
from lth_deploy.training.quantization import restored
from lth_deploy.training.state import TrainingState


@dataclass(frozen=True)
class Trials:
    """The trials of the run of a recipe, as models, states and masks.

    build: a fresh detector for a seed, on the CPU; the second argument says whether the recipe's weights are loaded.
    """

    run: RunDirectory
    recipe: Recipe
    build: Callable[[int, bool], nn.Module]

    def fresh(self) -> nn.Module:
        """The network, for a state to be restored into."""
        return self.build(self.recipe.training.seed, False)

    def trained(self, name: str) -> nn.Module:
        """The detector that the finished trial `name` ended with, on the CPU."""
        return restored(self.fresh(), self.state(name))

    def state(self, name: str) -> TrainingState:
        """A starting state by name; see `segment_of`."""
        if name == "initial":
            return TrainingState.capture(0, self.build(self.recipe.training.seed, True))
        if name == "reinit":
            # New weights means new everywhere: a pretrained backbone is not loaded again.
            return TrainingState.capture(0, self.build(self.recipe.training.seed + 1, False))
        if name.startswith("source:"):
            start = self.state("initial")
            return replace(start, model={**start.model, **self.transfer(name.removeprefix("source:")).tensors})
        permuted = self.recipe.pruning.permute == "similarity"
        rewind = self.run.permuted_rewind if permuted else self.run.rewind
        file = rewind if name == "rewind" else self.run.trial(name).weights
        self.run.verify(file)
        return TrainingState.load(file)

    def transfer(self, trial: str) -> Transfer:
        """What the ticket `trial` takes over from the recipe's source."""
        source = self.recipe.source
        level = next(plan.sparsity for plan in plan_trials(self.recipe) if plan.name == trial)
        if source is None:
            raise ValueError(f"{trial} has no source")  # asked for only where the recipe has one
        model = self.fresh()
        return fit(read_ticket(source, level), model, self.scoped(model), source)

    def scoped(self, model: nn.Module) -> list[ScopedLayer]:
        """The layers of `model` that the recipe lets be pruned."""
        return layers_of(model, self.recipe.pruning)

    def layers(
        self, model: nn.Module, positions: Mapping[str, float], signals: Signals | None = None
    ) -> list[PrunableLayer]:
        """The same layers with their present weights, as the ranking takes them.

        Raises:
            DataError: `positions` lacks one of the layers.
        """
        layers = self.scoped(model)
        require_positions(positions, (layer.name for layer in layers))
        return ranked_layers(layers, positions, signals, self.coupled)

    @cached_property
    def coupled(self) -> dict[str, tuple[str, ...]]:
        """Layers that lose the same filters, by the name of each; none with structures other than `filter`."""
        if self.recipe.pruning.structure != "filter":
            return {}
        model = self.fresh()
        return coupled_layers(model, self.scoped(model))

    def training_masks(self, masks: Masks) -> dict[str, Tensor]:
        """`masks` as a training enforces them: with the biases and norms of pruned filters, see `with_dependents`."""
        if self.recipe.pruning.structure == "filter":
            masks = with_dependents(self.fresh(), masks)
        return {name: torch.from_numpy(mask) for name, mask in masks.items()}

    def positions(self) -> dict[str, float]:
        """Multiply positions by parameter name, as measured on the dense model."""
        return self.run.trial("dense").read_result().positions

    def share(self, level: float, model: nn.Module) -> float:
        """`level` as a share of the prunable weights; see `prunable_share`."""
        return prunable_share(level, self.recipe.pruning, model, self.scoped(model))

    def masks(self, trial: Trial) -> Masks:
        """The saved masks of `trial`."""
        self.run.verify(trial.mask)
        return load_masks(trial.mask)
