"""The sections of a recipe about the ticket: pruning, its controls, quantisation, and which level wins."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lth_deploy.validation import Positive, Section, Share


class RoundsSpec(Section):
    """An exponential series of levels: `rounds` levels, each keeping the same share of the one before."""

    to: Annotated[float, Field(gt=0, lt=1)]
    rounds: Annotated[int, Field(gt=0, le=100)] = 1

    def levels(self) -> list[float]:
        """Cumulative sparsity after each round."""
        keep = (1.0 - self.to) ** (1.0 / self.rounds)
        return [*(round(1.0 - keep**r, 6) for r in range(1, self.rounds)), self.to]


class RewindSpec(Section):
    """The point k that a ticket goes back to, as a step or as an epoch of the dense training."""

    step: Annotated[int, Field(ge=0)] | None = None
    epoch: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_point(self) -> "RewindSpec":
        if (self.step is None) == (self.epoch is None):
            raise ValueError("give the rewind point once, as 'step' or as 'epoch'")
        return self

    def at(self, batches_per_epoch: int) -> int:
        """K in optimizer steps."""
        return self.step if self.step is not None else round(float(self.epoch or 0) * batches_per_epoch)


def _kind_of_levels(value: Any) -> str:
    return "rounds" if isinstance(value, dict | RoundsSpec) else "list"


Levels = Annotated[
    Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Tag("list")] | Annotated[RoundsSpec, Tag("rounds")],
    Discriminator(_kind_of_levels),
]
"""Levels one by one, or as a series; told apart by their form, so that errors are about the form that was used."""


class PruningSpec(Section):
    """How the ticket is searched: every axis is its own key."""

    levels: Levels = RoundsSpec(to=0.8)
    criterion: str = "magnitude"
    allocation: Literal["global", "per_layer", "macs"] = "global"
    structure: Literal["single", "in4", "2x4", "out2"] = "single"
    block_score: Literal["l2", "l1", "max"] = Field(
        "l2", description="what a block of a structure is worth: root mean square, mean or largest of its weights"
    )
    permute: Literal["none", "similarity"] = Field(
        "none", description="bring channels that look alike together before blocks of inputs are formed"
    )
    restart: Literal["weights", "learning_rate", "fine_tune"] = "weights"
    rewind: RewindSpec = RewindSpec(epoch=1)
    budget: Literal["continue", "full"] = "continue"
    scope: Literal["default", "paper"] = "default"
    include: list[str] = Field(["*"])
    exclude: list[str] = Field([])
    fine_tune_lr: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _rising(self) -> "PruningSpec":
        levels = self.level_list()
        if not levels or any(b <= a for a, b in itertools.pairwise(levels)):
            raise ValueError(f"levels must rise and not be empty, found {levels}")
        if self.permute != "none" and self.structure not in ("in4", "2x4"):
            raise ValueError(f"permute '{self.permute}' is for structures with blocks of inputs, in4 and 2x4")
        return self

    def level_list(self) -> list[float]:
        """Cumulative sparsity of each level, rising."""
        return self.levels.levels() if isinstance(self.levels, RoundsSpec) else list(self.levels)


class ControlsSpec(Section):
    """Trainings that a ticket is compared with, beside the dense one that always runs."""

    random: list[Share] = Field([])
    reinit: list[Share] = Field([])


class SelectionSpec(Section):
    """Which level wins: the sparsest within `tolerance` (AP as a fraction) of the dense control on val."""

    tolerance: Annotated[float, Field(ge=0)] = 0.01
    metric: Literal["bbox", "segm", "keypoints"] = "bbox"
    bootstrap_samples: Positive = 1000


class QuantizationSpec(Section):
    """Fine-tuning with fake quantisation: a trial more for each of `levels`, which the INT8 file is exported from."""

    levels: list[Share] = Field([], description="levels of pruning to quantise; 0 is the dense control")
    steps: Positive | None = None
    epochs: Positive | None = Field(None, description="of this fine-tuning; an eighth of the training if not given")
    lr: Annotated[float, Field(gt=0)] | None = Field(
        None, description="learning rate at first, falling to 0 as a cosine; a tenth of the training's if not given"
    )
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="share of the steps after which the activations' ranges stay as they are"
    )
    calibration_batches: Positive = Field(8, description="batches of training images that give the first ranges")
    float_layers: list[str] = Field([], description="patterns of layers that stay float; transposed ones always do")

    @model_validator(mode="after")
    def _one_length(self) -> "QuantizationSpec":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give the length of the fine-tuning once, as 'steps' or as 'epochs'")
        return self

    def total_steps(self, batches_per_epoch: int, training_steps: int) -> int:
        """Optimizer steps of one fine-tuning."""
        return self.steps or int(self.epochs or 0) * batches_per_epoch or max(training_steps // 8, 1)
