"""A training that the user's own function carries out, piece by piece, with masks held and the state kept between."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_deploy.errors import TrainingError, UsageError
from lth_deploy.progress import progress
from lth_deploy.run.directory import Trial, append_metrics
from lth_deploy.training.held.hold import hold
from lth_deploy.training.hooks import StopRequested, is_over
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.session import TrialSession, resume_point
from lth_deploy.training.state import TrainingState

Train = Callable[[nn.Module, int, int], float | None]
"""Trains a model from one step to another; may return its mean loss."""


class UserSession(TrialSession):
    """What `Session` is, for a loop that stays where it is: steps are what `train` counts, and it runs whole pieces.

    A piece ends where a hook looks at the model, and at the end. The optimizer is the function's own, and begins anew
    with each piece.
    """

    def __init__(self, train: Train, seed: int, model: nn.Module, trial: Trial, masks: Mapping[str, Tensor]) -> None:
        super().__init__(model, trial, masks)
        self._train, self._seed = train, seed

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """From now on `masks` hold: what they prune becomes zero."""
        self.masks = dict(masks)
        hold(self.model, None, self.masks).release()

    def rewind(self, state: TrainingState) -> None:
        """Go on from the weights of `state`, pruned as they are now."""
        state.masked(self.masks).restore(self.model)

    def capture(self, step: int) -> TrainingState:
        """A copy of the live state, with `step` steps done."""
        return TrainingState.capture(step, self.model, memory=self.memory())

    def run(
        self,
        start: TrainingState,
        steps: range,
        rate: Callable[[int], float],
        batches: BatchSource,
        deadline: float | None = None,
    ) -> float:
        """Train over `steps` from `start`, or from the trial's checkpoint; the rate and the batches are the user's.

        Returns the seconds that this took, those before the checkpoint included.

        Raises:
            TrainingError: weights stopped being finite, or pruned ones are not zero.
            UsageError: the function returned something else than a loss or nothing.
            StopRequested: `deadline` (of time.monotonic) passed.
        """
        state = resume_point(self.trial, start.masked(self.masks))
        state.restore(self.model)
        self.recall(start, state)
        began = time.monotonic() - state.seconds
        done = state.step
        with progress(f"{self.trial.name}: training", total=steps.stop, done=done) as shown:
            for stop in self._stops(steps):
                if stop <= done:
                    continue
                for hook in self.hooks:
                    hook.before_step(done)
                self._piece(done, stop)
                for hook in self.hooks:
                    hook.after_step(stop - 1, {})
                shown(stop - done)
                done = stop
                # A kill loses the piece that it hits.
                replace(self.capture(done), seconds=time.monotonic() - began).save(
                    self.trial.checkpoint, with_digest=True
                )
                self.on_checkpoint(done)
                if done < steps.stop and is_over(deadline):
                    raise StopRequested
        return time.monotonic() - began

    def _stops(self, steps: range) -> list[int]:
        """Where pieces end."""
        moments = {moment for hook in self.hooks for moment in hook.moments(steps)}
        return sorted({moment for moment in moments if steps.start < moment < steps.stop} | {steps.stop})

    def _piece(self, start: int, stop: int) -> None:
        self.model.train()
        torch.manual_seed((self._seed << 32) + start)
        with hold(self.model, None, self.masks) if self.masks else nullcontext():
            loss = self._train(self.model, start, stop)
        wrong = [name for name, value in self.model.named_parameters() if not bool(value.detach().isfinite().all())]
        if wrong:
            raise TrainingError(
                f"{self.trial.name}: the weights {', '.join(wrong[:3])} are not finite after step {stop}; "
                "lower the learning rate or clip gradients in train, and start a new run"
            )
        if loss is None:
            return
        if isinstance(loss, bool) or not isinstance(loss, int | float) or not math.isfinite(loss):
            raise UsageError(f"train returned {loss!r:.60}; return the mean loss as a finite number, or nothing")
        append_metrics(self.trial.metrics, {"step": stop, "loss": float(loss)})
