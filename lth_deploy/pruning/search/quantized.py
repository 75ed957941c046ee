"""The fine-tuning of a finished trial with fake quantization: its model, its steps, and when ranges freeze."""

from dataclasses import dataclass

import torch
from torch import nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.training_spec import ScheduleSpec
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.pruning.scope import quantized_layers
from lth_deploy.pruning.search.restart import TrainingSegment
from lth_deploy.training.hooks import Hook
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.quantization import FreezeRanges, calibrate
from lth_deploy.training.schedule import rate_at
from lth_deploy.training.state import TrainingState

LR_SHARE = 0.1
"""Peak of the learning rate as a share of the training's, where the recipe gives none."""


@dataclass(frozen=True)
class QuantizedStart:
    """What the fine-tuning begins with; `freeze` has to take part in its steps."""

    model: nn.Module
    segment: TrainingSegment
    freeze: Hook


def quantized_start(
    trained: nn.Module, recipe: Recipe, device: torch.device, batches: BatchSource, total: int, steps: int
) -> QuantizedStart:
    """Fold the norms of `trained`, calibrate it, and plan `steps` steps after the `total` ones of its training.

    Raises:
        TrainingError: no layer is left to quantize.
    """
    spec = recipe.quantization
    model = fold_norm(trained).module.to(device)
    images = [[image.to(device) for image in batches.batch(step)[0]] for step in range(spec.calibration_batches)]
    quantization = calibrate(model, quantized_layers(model, spec.float_layers), images)
    peak = spec.lr or LR_SHARE * recipe.training.optimizer.lr

    def rate(step: int) -> float:
        return rate_at(step - total, steps, peak, ScheduleSpec(name="cosine"))

    segment = TrainingSegment(TrainingState.capture(total, model), range(total, total + steps), rate)
    return QuantizedStart(model, segment, FreezeRanges(quantization, total + round(spec.freeze_ranges_at * steps)))
