"""Hooks: what happens around a step besides the step. Each is one concern, and none knows another."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lth_deploy.errors import TrainingError
from lth_deploy.progress import Step
from lth_deploy.run.directory import append_metrics
from lth_deploy.training.state import TrainingState
from lth_deploy.training.stop_request import stop_is_requested

MOST_SKIPPED = 24
"""Steps in a row that fp16 may leave out; the scale of the loss, 65536 at first, is then below 1/100."""


class Hook:
    """The moments of a step; every method may be left as it is."""

    def before_step(self, step: int) -> None:
        """Before the batch of `step` is used."""

    def after_backward(self, step: int) -> None:
        """Gradients are there (unscaled), the weights are not changed yet."""

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """`step` + 1 optimizer steps are done."""

    def moments(self, steps: range) -> Iterable[int]:
        """The steps of a training after which, or before the next of which, this hook does something.

        Where the training runs in pieces, `after_step` is called with what went before and no losses.
        """
        return (step + 1 for step in steps)

    def for_all_ranks(self) -> dict[str, int]:
        """What the other ranks of a training need, to do in each step what this hook does; see `follow`."""
        return {}

    def memory(self) -> dict[str, Tensor]:
        """What an interrupted training must not lose, under names that no other hook uses."""
        return {}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from what the hooks of an interrupted training remembered."""


class KeepMask(Hook):
    """Pruned weights get no gradient.

    A weight that is zero, with zero gradient and zero optimizer state, stays exactly zero under momentum, Adam
    and weight decay alike; so masking the gradients is all the upkeep there is, and it never waits for the GPU.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.keep(masks)

    def keep(self, masks: Mapping[str, Tensor]) -> None:
        """From now on `masks` say which weights are pruned."""
        self._pairs = [
            (self._parameters[name], torch.empty_like(self._parameters[name]).copy_(mask).detach())
            for name, mask in masks.items()
            if name in self._parameters
        ]

    def after_backward(self, step: int) -> None:
        """Zero the gradients of pruned weights."""
        live = [(parameter.grad, mask) for parameter, mask in self._pairs if parameter.grad is not None]
        if live:
            torch._foreach_mul_([grad for grad, _ in live], [mask for _, mask in live])


class WatchLoss(Hook):
    """Stops a training whose loss is no longer finite, before that reaches a checkpoint or a ranking.

    In fp16 a step whose gradients are not finite is left out, and the scale of the loss falls; a few in a row are usual
    at the beginning.
    """

    def __init__(self, every: int = 20, skipped: Callable[[], int] = lambda: 0) -> None:
        """skipped: how many of the last steps were left out in a row."""
        self._every, self._skipped = every, skipped
        self._finite: Tensor | None = None
        self.since = 0

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Collect on the device; look only now and then.

        Raises:
            TrainingError: a loss was NaN or infinite, or too many steps in a row were left out.
        """
        skipped = self._skipped()
        if skipped > MOST_SKIPPED:
            raise TrainingError(
                f"the last {skipped} steps up to step {step} had gradients that are not finite in fp16, however small "
                "the scale of the loss; set training.precision: bf16, or lower training.optimizer.lr, and start a new "
                "run"
            )
        if not skipped:
            finite = torch.stack([loss.detach().isfinite().all() for loss in losses.values()]).all()
            self._finite = finite if self._finite is None else self._finite & finite
        if (step + 1) % self._every == 0:
            self.check(step)

    def check(self, step: int) -> None:
        """Look now.

        Raises:
            TrainingError: a loss since the last look was NaN or infinite.
        """
        if self._finite is not None and not bool(self._finite):
            raise TrainingError(
                f"the loss stopped being finite between step {self.since} and step {step}; "
                "lower training.optimizer.lr or set training.clip_norm, and start a new run"
            )
        self._finite, self.since = None, step + 1


class SaveCheckpoint(Hook):
    """Writes the state every few seconds and, through `due`, whenever something else asks."""

    def __init__(
        self,
        path: Path,
        capture: Callable[[int], TrainingState],
        seconds: float,
        watch: WatchLoss,
        saved: Callable[[int], None] = lambda step: None,
    ) -> None:
        self._path, self._capture, self._seconds, self._watch = path, capture, seconds, watch
        self._saved = saved
        self._last = time.monotonic()

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Save when it is time."""
        if time.monotonic() - self._last >= self._seconds:
            self.save(step + 1)

    def save(self, step: int) -> None:
        """Save now, with `step` steps done, unless the loss has gone bad."""
        self._watch.check(step - 1)
        self._capture(step).save(self._path, with_digest=True)
        self._saved(step)
        self._last = time.monotonic()


class StopRequested(Exception):  # noqa: N818  (reaching a time limit is no error)
    """The time limit of the run was reached; the checkpoint is written."""


def is_over(deadline: float | None) -> bool:
    """Whether a training has to stop: its deadline (of time.monotonic) has passed, or a signal asked for it."""
    return stop_is_requested() or (deadline is not None and time.monotonic() >= deadline)


class StopAtDeadline(Hook):
    """Ends a training at a wall-clock limit, or when it is asked to, after a checkpoint."""

    def __init__(self, deadline: float | None, checkpoint: SaveCheckpoint) -> None:
        self._deadline, self._checkpoint = deadline, checkpoint

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Save and stop when the time is over.

        Raises:
            StopRequested: it is.
        """
        if is_over(self._deadline):
            self._checkpoint.save(step + 1)
            raise StopRequested


class KeepState(Hook):
    """Hands a copy of the state to `keep` when exactly `at` steps are done (the rewind point)."""

    def __init__(self, at: int, capture: Callable[[int], TrainingState], keep: Callable[[TrainingState], None]) -> None:
        self._at, self._capture, self._keep = at, capture, keep

    def before_step(self, step: int) -> None:
        """A rewind point of 0 is the initial state, before any step."""
        if step == 0 and self._at == 0:
            self._keep(self._capture(0))

    def moments(self, steps: range) -> Iterable[int]:
        """The rewind point."""
        return (self._at,)

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Keep it at the rewind point."""
        if step + 1 == self._at:
            self._keep(self._capture(self._at))


class RecordMetrics(Hook):
    """Writes losses and learning rate as JSON lines, and shows the progress of the training."""

    def __init__(self, path: Path, shown: Step, last: int, rate: Callable[[int], float], every: int = 20) -> None:
        self._path, self._shown, self._last, self._rate, self._every = path, shown, last, rate, every

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """One record every few steps: reading a loss waits for the GPU."""
        if (step + 1) % self._every and step + 1 != self._last:
            self._shown()
            return
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        total = sum(values.values())
        self._shown(detail=f"loss {total:.3f}")
        if not math.isfinite(total):
            return
        append_metrics(self._path, {"step": step + 1, "loss": total, "lr": self._rate(step), "losses": values})
