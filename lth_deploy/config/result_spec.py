"""The sections of a recipe about what a search ends with: which level wins, and which are fine-tuned as INT8."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lth_deploy.config.validation import Positive, Section, Share


class SelectionSpec(Section):
    """Which level wins: the sparsest within `tolerance` (AP as a fraction) of the dense control on val."""

    tolerance: Annotated[float, Field(ge=0)] = 0.01
    metric: Literal["bbox", "segm", "keypoints", "top1", "score"] = "bbox"
    bootstrap_samples: Positive = 1000


class QuantizationSpec(Section):
    """Fine-tuning with fake quantization: a trial more for each of `levels`, which the INT8 file is exported from."""

    levels: list[Share] = Field([], description="levels of pruning to quantize; 0 is the dense control")
    steps: Positive | None = None
    epochs: Positive | None = Field(None, description="of this fine-tuning; an eighth of the training if not given")
    lr: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="learning rate at first, falling to 0 as a cosine; if not given, a tenth of the training's, or "
        "less where AdamW would move a layer's weights by more than 0.5 % of their size in a step",
    )
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="share of the steps after which the activations' ranges stay as they are"
    )
    calibration_batches: Positive = Field(8, description="batches of training images that give the first ranges")
    float_layers: list[str] = Field([], description="patterns of layers that stay float; transposed ones in groups do")

    @model_validator(mode="after")
    def _one_length(self) -> "QuantizationSpec":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give the length of the fine-tuning once, as 'steps' or as 'epochs'")
        return self

    def total_steps(self, batches_per_epoch: int, training_steps: int) -> int:
        """Optimizer steps of one fine-tuning."""
        return self.steps or int(self.epochs or 0) * batches_per_epoch or max(training_steps // 8, 1)
