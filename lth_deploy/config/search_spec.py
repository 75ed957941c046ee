"""The sections of a recipe about the search for tickets: pruning, a source of tickets, and controls."""

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lth_deploy.config.validation import Positive, Section, Share
from lth_deploy.layer_floor import KEEP_AT_LEAST
from lth_deploy.structures import BLOCKS, GROUPS, STRUCTURES

if TYPE_CHECKING:
    StructureName = str
else:
    StructureName = Literal[tuple(STRUCTURES)]


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
"""Levels one by one, or as a series; distinguished by their form, so that errors are about the form that was used."""


Group = Literal[
    "backbone",
    "fpn",
    "rpn",
    "head",
    "box_head",
    "mask_head",
    "keypoint_head",
    "dense_head",
    "encoder",
    "decoder",
    "predictor",
]
"""Parts of a detector; `head` is every head without its final predictors, which are pruned only where named."""


class CubicSpec(Section):
    """When the zeros of a gradual training come: shares of its steps, and steps between two rankings."""

    begin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    every: Positive = 100
    updates: Positive | None = Field(
        None, description="so many rankings, evenly from begin to end, instead of one every `every` steps"
    )

    @model_validator(mode="after")
    def _forwards(self) -> "CubicSpec":
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} is not before end {self.end}")
        return self


class ProgressiveSpec(Section):
    """One training whose zeros come in rounds: when, as shares of its steps, and where kept weights go on from."""

    rounds: Annotated[int, Field(gt=0, le=100)] = Field(4, description="so many rankings, evenly from begin to end")
    begin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    end: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rewind: bool = Field(
        True, description="after each ranking, kept weights go back to where the training started; or they go on"
    )

    @model_validator(mode="after")
    def _forwards(self) -> "ProgressiveSpec":
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} is not before end {self.end}")
        return self


class EarlyMasksSpec(Section):
    """Masks of the dense network while it trains (You et al. 2020): how early is a ticket's mask there?"""

    every: Positive = Field(description="optimizer steps from one of these masks to the next")
    take: Positive | None = Field(
        None,
        description="steps, a multiple of `every`, after which the tickets' masks are taken; at the end if not given",
    )

    @model_validator(mode="after")
    def _taken_is_there(self) -> "EarlyMasksSpec":
        if self.take is not None and self.take % self.every:
            raise ValueError(f"take {self.take} is no multiple of every {self.every}, so that there is no such mask")
        return self


GRADUAL = ("cubic", "progressive")
"""Schedules that prune while a ticket trains."""


class PruningSpec(Section):
    """How the ticket is searched: every axis is its own key."""

    levels: Levels = RoundsSpec(to=0.8)
    criterion: str = "magnitude"
    criterion_batches: Positive = Field(8, description="batches whose gradients a criterion sums")
    ranked: Literal["trained", "initial"] = Field("trained", description="the weights that a criterion ranks")
    schedule: Literal["levels", "one_shot", "cubic", "progressive", "post_training"] = Field(
        "levels",
        description="each level from the one before, each from dense weights, rising within its training, rising in "
        "rounds within it, or each from dense weights without any training, its layers reconstructed on a few images",
    )
    calibration_images: Positive = Field(64, description="images that schedule 'post_training' looks at")
    cubic: CubicSpec = CubicSpec()
    progressive: ProgressiveSpec = ProgressiveSpec()
    allocation: Literal["global", "per_layer", "erk", "macs"] = "global"
    structure: StructureName = "single"
    block_score: Literal["auto", "l2", "l1", "max"] = Field(
        "auto",
        description="what a block is worth: root mean square, mean or largest of the scores of its weights; auto is l1 "
        "for criteria that add up as changes of the loss do, l2 for others",
    )
    keep_at_least: Annotated[float, Field(ge=0, lt=1)] = Field(
        KEEP_AT_LEAST,
        description="share of the blocks of each layer that stays, and a block for each 16 outputs; 0 for no floor",
    )
    permute: Literal["none", "similarity"] = Field(
        "none", description="bring channels that look alike together before blocks of inputs are formed"
    )
    restart: Literal["weights", "learning_rate", "fine_tune"] = "weights"
    rewind: RewindSpec = RewindSpec(epoch=1)
    budget: Literal["continue", "full"] = "continue"
    share_of: Literal["prunable", "all"] = Field("prunable", description="the weights that levels are a share of")
    scope: Literal["default", "paper"] = "default"
    groups: list[Group] = Field([], description="parts of the network that are pruned; none given means all")
    include: list[str] = Field(["*"])
    exclude: list[str] = Field([])
    early_masks: EarlyMasksSpec | None = Field(
        None, description="record the masks of the dense network while it trains"
    )
    fine_tune_lr: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _rising(self) -> "PruningSpec":
        levels = self.level_list()
        if not levels or any(b <= a for a, b in itertools.pairwise(levels)):
            raise ValueError(f"levels must rise and not be empty, found {levels}")
        return self

    @model_validator(mode="after")
    def _permutes_before_anything_is_ranked(self) -> "PruningSpec":
        if self.permute == "none":
            return self
        blocks_of_inputs = [name for name, block in BLOCKS.items() if block.inputs > 1]
        if self.structure not in blocks_of_inputs:
            names = ", ".join(blocks_of_inputs)
            raise ValueError(f"permute '{self.permute}' is for structures with blocks of inputs: {names}")
        if self.ranked == "initial":
            raise ValueError("permute puts channels in order by trained weights; ranked 'initial' comes before those")
        return self

    @model_validator(mode="after")
    def _reconstruction_is_alone(self) -> "PruningSpec":
        defaults = {
            "criterion": "magnitude",
            "ranked": "trained",
            "allocation": "global",
            "block_score": "auto",
            "keep_at_least": KEEP_AT_LEAST,
            "restart": "weights",
            "budget": "continue",
        }
        changed = [key for key, value in defaults.items() if getattr(self, key) != value]
        if self.schedule == "post_training" and changed:
            raise ValueError(
                f"schedule 'post_training' ranks by what layers lose and trains nothing: leave {', '.join(changed)} out"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_alone(self) -> "PruningSpec":
        groups = GROUPS.get(self.structure)
        if groups is None:
            return self
        share = 1 - groups.keep / groups.of
        if self.level_list() != [share]:
            raise ValueError(
                f"structure '{self.structure}' has {share:.0%} zeros in every group: levels must be [{share}]"
            )
        defaults: dict[str, Any] = {
            "allocation": "global",
            "share_of": "prunable",
            "block_score": "auto",
            "keep_at_least": KEEP_AT_LEAST,
        }
        if self.schedule != "post_training":
            defaults["schedule"] = "levels"
        if any(getattr(self, key) != value for key, value in defaults.items()):
            raise ValueError(
                f"structure '{self.structure}' has the same zeros in every group and all at once: "
                f"leave {', '.join(defaults)} out"
            )
        return self

    @model_validator(mode="after")
    def _filters_are_trained(self) -> "PruningSpec":
        if self.structure != "filter":
            return self
        if self.schedule == "post_training":
            raise ValueError("schedule 'post_training' solves for single weights; structure 'filter' has to be trained")
        if self.allocation == "erk":
            raise ValueError("allocation 'erk' gives layers densities of single weights; leave it out for 'filter'")
        if self.keep_at_least != KEEP_AT_LEAST:
            raise ValueError("structure 'filter' keeps one filter of each layer; leave keep_at_least out")
        return self

    @model_validator(mode="after")
    def _shares_are_of_weights(self) -> "PruningSpec":
        if self.share_of == "all" and self.allocation == "macs":
            raise ValueError("allocation 'macs' counts the multiplications of prunable layers; leave share_of out")
        return self

    @model_validator(mode="after")
    def _ranks_what_there_is(self) -> "PruningSpec":
        gradual = self.schedule in GRADUAL
        if self.criterion == "movement" and self.schedule == "progressive" and self.progressive.rewind:
            raise ValueError("criterion 'movement' sums over one way of the weights; set progressive.rewind to false")
        if self.ranked == "initial" and (self.criterion == "movement" or gradual):
            what = "criterion 'movement'" if self.criterion == "movement" else f"schedule '{self.schedule}'"
            raise ValueError(f"{what} ranks weights in training; ranked 'initial' is for ranking before it")
        return self

    @model_validator(mode="after")
    def _early_masks_are_of_dense_weights(self) -> "PruningSpec":
        early = self.early_masks
        fixed = {"criterion": ("magnitude", "lamp", "random"), "ranked": ("trained",), "permute": ("none",)}
        for key, valid in fixed.items():
            if early is not None and getattr(self, key) not in valid:
                raise ValueError(f"early_masks rank the weights of a training: {key} must be {' or '.join(valid)}")
        if early is not None and early.take is not None and self.schedule in GRADUAL:
            raise ValueError(f"early_masks.take gives a ticket its mask at once; leave schedule {self.schedule} out")
        if early is not None and early.take is not None and self.schedule == "levels" and len(self.level_list()) > 1:
            raise ValueError("early_masks.take is of one shot: set schedule one_shot, or one level")
        return self

    def level_list(self) -> list[float]:
        """Cumulative sparsity of each level, rising."""
        return self.levels.levels() if isinstance(self.levels, RoundsSpec) else list(self.levels)


class SourceSpec(Section):
    """Another run whose tickets are taken over instead of pruning this network; level by level."""

    run: str = Field(description="run directory of find-ticket, or URL, with finished tickets of this recipe's levels")
    transfer: Literal["ticket", "mask"] = Field(
        "ticket", description="mask, weights and norm statistics; or the mask alone, on this network's own weights"
    )
    groups: list[Group] = Field([], description="parts that are taken over; none given means all that both have")
    missing: Literal["dense", "direct"] = Field(
        "dense", description="layers that the source lacks stay dense, or are pruned by this recipe's criterion"
    )


class ControlsSpec(Section):
    """Trainings that a ticket is compared with, beside the dense one that always runs."""

    random: list[Share] = Field([])
    reinit: list[Share] = Field([])
