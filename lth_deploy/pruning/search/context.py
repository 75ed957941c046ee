"""What a search is given from outside, and what all its trials share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.documents import Metrics
from lth_deploy.pruning.ranking.rank import Measure
from lth_deploy.pruning.search.trial_masks import TrialMasks
from lth_deploy.pruning.search.trials import Trials
from lth_deploy.run.callbacks import Callbacks
from lth_deploy.run.directory import RunDirectory
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.session import NewSession, Session

Scores = dict[str, Metrics]
"""AP by split, kind and metric, as it is stored in a trial's result."""


@dataclass(frozen=True)
class SearchContext:
    """What the trials of a search are made from.

    build: a fresh detector for a seed, on the CPU; `pretrained` says whether the recipe's weights are loaded.
    score: AP of a trained model. positions: multiplications of each weight for one image, by parameter
    name, measured on a model. measure: the signals that criteria need besides weights, measured on a
    model. deadline: of time.monotonic. quantization_steps: length of a fine-tuning with fake quantization.
    new_session: what trains. callbacks: what looks on. steps_per_epoch: for what they are said of epochs.
    """

    run: RunDirectory
    recipe: Recipe
    device: torch.device
    batches: BatchSource
    total_steps: int
    rewind_step: int
    build: Callable[[int, bool], nn.Module]
    score: Callable[[nn.Module], Scores]
    positions: Callable[[nn.Module], Mapping[str, float]]
    measure: Measure
    deadline: float | None = None
    quantization_steps: int = 1
    new_session: NewSession = Session
    callbacks: Callbacks = field(default_factory=lambda: Callbacks([]))
    steps_per_epoch: int = 1

    @cached_property
    def trials(self) -> Trials:
        """The trials as models, states and masks."""
        return Trials(self.run, self.recipe, self.build)

    @cached_property
    def masks(self) -> TrialMasks:
        """Ranks weights, and saves the masks of trials."""
        return TrialMasks(self.trials, self.measure, self.positions)

    def images(self, count: int) -> list[Tensor]:
        """The first `count` images of the training, as it sees them."""
        images: list[Tensor] = []
        step = 0
        while len(images) < count:
            images += [image.to(self.device) for image in self.batches.batch(step)[0]]
            step += 1
        return images[:count]
