"""The part of a recipe that says how one training goes: length, optimizer, schedule, augmentation."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lth_deploy.config.validation import Positive, Section, Seed

Scale = Annotated[float, Field(ge=0.1, le=10)]


class OptimizerSpec(Section):
    """Optimizer and its constants."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4


class ScheduleSpec(Section):
    """Learning rate over the N steps of a training."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "step"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = 1e-3
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[2 / 3, 8 / 9], description="shares of N at which the rate is multiplied by gamma"
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    rise: Annotated[float, Field(gt=0, lt=1, description="share of a one_cycle that rises")] = 0.3


class AugmentSpec(Section):
    """What is changed at random in a training image, beside `flip`; as it stands, nothing."""

    vertical_flip: Annotated[float, Field(ge=0, le=1, description="chance of exchanging top and bottom")] = 0.0
    zoom: Annotated[
        list[Scale],
        Field(
            min_length=2,
            max_length=2,
            description="least and greatest scale; the canvas keeps its size, the place is random",
        ),
    ] = Field([1.0, 1.0])
    min_visible: Annotated[
        float, Field(ge=0, le=1, description="objects of which zooming leaves a smaller share are left out")
    ] = 0.3
    brightness: Annotated[float, Field(ge=0, lt=1, description="greatest change of brightness, as a share")] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1, description="greatest change of contrast, as a share")] = 0.0

    @model_validator(mode="after")
    def _rising(self) -> "AugmentSpec":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom goes from the least to the greatest scale, found {list(self.zoom)}")
        return self


class AverageSpec(Section):
    """A moving average of the weights (EMA)."""

    decay: Annotated[float, Field(gt=0, lt=1, description="share of the average that stays in a step")] = 0.9998
    ramp: Annotated[float, Field(ge=0, description="steps in which the decay has risen to 63 %; 0: at once")] = 2000.0


class TrainingSpec(Section):
    """One training of N steps."""

    steps: Annotated[int, Field(ge=0)] | None = Field(None, description="0 only with pruning.schedule 'post_training'")
    epochs: Positive | None = None
    batch_size: Positive = Field(16, description="images of a step, those of all ranks together")
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    augment: AugmentSpec = AugmentSpec()
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of forward and backward passes; weights and optimizer stay fp32"
    )
    channels_last: bool = Field(True, description="weights and activations in memory with the channels together")
    compile: bool = Field(False, description="let torch.compile make kernels for this network; costs minutes at first")
    accumulate: Positive = Field(1, description="parts that each rank computes its images of a step in, to save memory")
    ema: AverageSpec | None = Field(None, description="end each training with a moving average of its weights")
    sync_norms: bool = Field(False, description="on several ranks, batch norms use the statistics of the whole batch")
    seed: Seed = 0
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 leaves torch's own choice")
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, values: Any) -> Any:
        """Runs of earlier versions call the precision `amp`."""
        if not isinstance(values, dict) or "amp" not in values or "precision" in values:
            return values
        renamed = {**values, "precision": "fp32" if values["amp"] == "off" else values["amp"]}
        del renamed["amp"]
        return renamed

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingSpec":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give the length of a training once, as 'steps' or as 'epochs'")
        return self

    def total_steps(self, batches_per_epoch: int) -> int:
        """N, the number of optimizer steps of the dense training."""
        return self.steps if self.steps is not None else int(self.epochs or 0) * batches_per_epoch
