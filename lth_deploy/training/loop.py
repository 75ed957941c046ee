"""The training loop: fetch, forward, backward, step, with hooks around it and nothing else in it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.training.hooks import Hook

Batch = tuple[list[Tensor], list[dict[str, Any]]]


class BatchSource(Protocol):
    """Random access to batches by global step: resuming needs no sampler state."""

    def batch(self, step: int) -> Batch:
        """The images and targets of one step."""

    def close(self) -> None:
        """Give back what prepares batches ahead."""


class Stepper:
    """One optimizer step of one model; holds what does not change from step to step."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, spec: TrainingSpec, device: torch.device
    ) -> None:
        self.model, self.optimizer, self.spec, self.device = model, optimizer, spec, device
        half = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[spec.amp]
        self._autocast = torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.amp == "fp16")
        self._trainable = [p for p in model.parameters() if p.requires_grad]

    def step(self, batch: Batch, rate: float, after_backward: Callable[[], None]) -> dict[str, Tensor]:
        """Forward, backward and update on `batch` with learning rate `rate`; returns the losses."""
        images = [image.to(self.device, non_blocking=True) for image in batch[0]]
        targets = [
            {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in t.items()}
            for t in batch[1]
        ]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast:
            losses: dict[str, Tensor] = self.model(images, targets)
        total = torch.stack(list(losses.values())).sum()
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        after_backward()
        if self.spec.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trainable, self.spec.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses


def train(
    stepper: Stepper, batches: BatchSource, steps: range, rate: Callable[[int], float], hooks: Sequence[Hook]
) -> None:
    """Run `steps`. All randomness of a step derives from the recipe's seed and the step's number.

    Raises:
        TrainingError: the loss stopped being finite.
        StopRequested: the time limit of the run was reached.
    """
    stepper.model.train()
    for step in steps:
        for hook in hooks:
            hook.before_step(step)
        torch.manual_seed((stepper.spec.seed << 32) + step)
        losses = stepper.step(batches.batch(step), rate(step), partial(_after_backward, hooks, step))
        for hook in hooks:
            hook.after_step(step, losses)


def _after_backward(hooks: Sequence[Hook], step: int) -> None:
    for hook in hooks:
        hook.after_backward(step)
