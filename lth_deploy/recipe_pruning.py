"""The sections of a recipe about pruning: where zeros come from, how many, and what they are compared with."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lth_deploy.validation import Section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


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
        return self

    def level_list(self) -> list[float]:
        """Cumulative sparsity of each level, rising."""
        return self.levels.levels() if isinstance(self.levels, RoundsSpec) else list(self.levels)


class ControlsSpec(Section):
    """Trainings that a ticket is compared with, beside the dense one that always runs."""

    random: list[Share] = Field([])
    reinit: list[Share] = Field([])
