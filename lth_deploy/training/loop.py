"""The training loop: fetch, forward, backward, step, with hooks around it and nothing else in it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.training.compiled import compiled
from lth_deploy.training.hooks import Hook
from lth_deploy.training.ranks.norms import synchronized_norms
from lth_deploy.training.ranks.process_group import current_ranks

Batch = tuple[list[Tensor], list[dict[str, Any]]]


class BatchSource(Protocol):
    """Random access to batches by global step: resuming needs no sampler state."""

    def batch(self, step: int) -> Batch:
        """The images and targets of one step."""

    def part(self, rank: int, ranks: int) -> "BatchSource":
        """The same batches, but of each only the images of one rank; to be closed on its own."""

    def close(self) -> None:
        """Give back what prepares batches ahead."""


class Stepper:
    """One optimizer step of one model; holds what does not change from step to step.

    skipped: how many of the last steps were left out in a row, because a gradient was not finite in fp16.
    waited: seconds in which images were not there yet.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, spec: TrainingSpec, device: torch.device
    ) -> None:
        self.model, self.optimizer, self.spec, self.device = model, optimizer, spec, device
        half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[spec.precision]
        self._autocast = torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "fp16")
        self.skipped = 0
        self.waited = 0.0
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        self._alone: nn.Module = compiled(model) if spec.compile else model
        self._forward = self._alone

    @contextmanager
    def on_all_ranks(self) -> Iterator[None]:
        """In the body, gradients are the mean over all ranks, and batch norms synchronized where the recipe says so.

        Every rank enters it at the same time, with the same weights.
        """
        if not current_ranks().shared:
            yield
            return
        # Looking for unused parameters lets a head go without objects on one rank, and keeps the order of sums fixed
        # from the first step on, so that a training that goes on after a kill ends with the same bits.
        self._forward = nn.parallel.DistributedDataParallel(self._alone, find_unused_parameters=True)
        try:
            with synchronized_norms(self.model) if self.spec.sync_norms else nullcontext():
                yield
        finally:
            self._forward = self._alone

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
        losses = self._gradients(images, targets)
        self.scaler.unscale_(self.optimizer)
        after_backward()
        if self.spec.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trainable, self.spec.clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # The scale falls after a gradient that is not finite, and only then.
        self.skipped = self.skipped + 1 if self.scaler.get_scale() < scale else 0
        return self._mean_losses(losses)

    def _gradients(self, images: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Forward and backward, in as many parts as the recipe says; gradients and losses are means over the parts."""
        count = self.spec.accumulate
        size = -(-len(images) // count)
        mean: dict[str, Tensor] = {}
        for start in range(0, len(images), size):
            with self._averaging(start + size >= len(images)):
                with self._autocast:
                    losses: dict[str, Tensor] = self._forward(
                        images[start : start + size], targets[start : start + size]
                    )
                total = torch.stack(list(losses.values())).sum()
                self.scaler.scale(total if count == 1 else total / count).backward()  # type: ignore[no-untyped-call]
            if count == 1:
                return losses
            for name, loss in losses.items():
                mean[name] = mean.get(name, 0.0) + loss.detach() / count
        return mean

    def _averaging(self, last: bool) -> AbstractContextManager[Any]:
        """Ranks average their gradients once a step, with the last part."""
        wrapped = self._forward
        if last or not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return wrapped.no_sync()

    def _mean_losses(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of the whole batch, so that rank 0 sees what is not finite on another."""
        ranks = current_ranks()
        if not ranks.shared:
            return losses
        means = ranks.mean(torch.stack([loss.detach().float() for loss in losses.values()]))
        return dict(zip(losses, means.unbind(), strict=True))


def train(
    stepper: Stepper, batches: BatchSource, steps: range, rate: Callable[[int], float], hooks: Sequence[Hook]
) -> None:
    """Run `steps`. All randomness of a step derives from the recipe's seed, the step's number and the rank.

    Raises:
        TrainingError: the loss stopped being finite.
        StopRequested: the time limit of the run was reached.
    """
    stepper.model.train()
    for step in steps:
        for hook in hooks:
            hook.before_step(step)
        now = rate(step)
        with current_ranks().together({"do": "step", "step": step, "rate": now}):
            losses = one_step(stepper, batches, step, now, hooks)
        for hook in hooks:
            hook.after_step(step, losses)


def one_step(
    stepper: Stepper, batches: BatchSource, step: int, rate: float, hooks: Iterable[Hook]
) -> dict[str, Tensor]:
    """The optimizer step number `step` with this rank's images; returns the losses."""
    torch.manual_seed((stepper.spec.seed << 32) + step + (current_ranks().rank << 31))
    began = time.monotonic()
    batch = batches.batch(step)
    stepper.waited += time.monotonic() - began
    return stepper.step(batch, rate, partial(_after_backward, hooks, step))


def _after_backward(hooks: Iterable[Hook], step: int) -> None:
    for hook in hooks:
        hook.after_backward(step)
