"""One training of one trial: assembles loop and hooks, and goes on from a checkpoint where there is one."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.errors import DataError
from lth_deploy.progress import progress
from lth_deploy.run.directory import Trial, truncate_metrics
from lth_deploy.training.hooks import (
    Hook,
    KeepMask,
    KeepState,
    RecordMetrics,
    SaveCheckpoint,
    StopAtDeadline,
    WatchLoss,
)
from lth_deploy.training.loop import BatchSource, Stepper, train
from lth_deploy.training.optimizer import build_optimizer
from lth_deploy.training.state import TrainingState

logger = logging.getLogger(__name__)


class TrialSession(ABC):
    """The training of one trial, whoever carries it out: a model, the files that it fills, masks, and hooks."""

    def __init__(self, model: nn.Module, trial: Trial, masks: Mapping[str, Tensor]) -> None:
        self.model, self.trial, self.masks = model, trial, dict(masks)
        self.hooks: list[Hook] = []

    def add(self, hook: Hook) -> None:
        """Run `hook` from now on, and keep what it remembers in checkpoints."""
        self.hooks.append(hook)

    def keep_state(self, at: int, keep: Callable[[TrainingState], None]) -> None:
        """Call `keep` with a copy of the state when `at` steps are done."""
        self.add(KeepState(at, self.capture, keep))

    def memory(self) -> dict[str, Tensor]:
        """What the hooks remember."""
        return {name: tensor for hook in self.hooks for name, tensor in hook.memory().items()}

    @abstractmethod
    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """From now on `masks` hold: what they prune becomes zero, and so does its optimizer state that is known."""

    @abstractmethod
    def capture(self, step: int) -> TrainingState:
        """A copy of the live state, with `step` steps done."""

    @abstractmethod
    def run(
        self,
        start: TrainingState,
        steps: range,
        rate: Callable[[int], float],
        batches: BatchSource,
        deadline: float | None = None,
    ) -> float:
        """Train over `steps` from `start`, or from the trial's checkpoint.

        Returns the seconds that this took, those before the checkpoint included.

        Raises:
            TrainingError: the training cannot go on.
            StopRequested: `deadline` (of time.monotonic) passed.
        """

    def recall(self, start: TrainingState, state: TrainingState) -> None:
        """Give the hooks what they remembered at `state`, which is later than `start`, and cut off later metrics."""
        if state.memory and state.step > start.step:
            for hook in self.hooks:
                hook.recall(state.memory)
        truncate_metrics(self.trial.metrics, state.step + 1)


NewSession = Callable[[TrainingSpec, torch.device, nn.Module, Trial, Mapping[str, Tensor]], TrialSession]
"""Begins the training of a trial: its constants, device, model, files and masks."""


class Session(TrialSession):
    """A model in training, tied to the trial whose files it fills."""

    def __init__(
        self,
        spec: TrainingSpec,
        device: torch.device,
        model: nn.Module,
        trial: Trial,
        masks: Mapping[str, Tensor],
    ) -> None:
        # Convolutions run a third faster in this layout on CPUs, and faster still on GPUs with half precision.
        model.to(memory_format=torch.channels_last)
        super().__init__(model, trial, masks)
        self.spec = spec
        self.optimizer = build_optimizer(model, spec.optimizer)
        self.stepper = Stepper(model, self.optimizer, spec, device)
        self._keep = KeepMask(model, self.masks)

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """From now on `masks` hold: what they prune becomes zero, its optimizer state included."""
        self.masks = dict(masks)
        self._keep.keep(masks)
        with torch.no_grad():
            # A frozen norm's scale and shift are buffers.
            for name, parameter in (*self.model.named_parameters(), *self.model.named_buffers()):
                if name in masks:
                    pruned = ~masks[name].to(parameter.device)
                    slots = self.optimizer.state.get(parameter, {}).values()
                    for tensor in (parameter, *(slot for slot in slots if isinstance(slot, Tensor))):
                        if tensor.shape == pruned.shape:
                            tensor.masked_fill_(pruned, 0)

    def capture(self, step: int) -> TrainingState:
        """A copy of the live state, with `step` steps done."""
        return TrainingState.capture(step, self.model, self.optimizer, self.stepper.scaler, self.memory())

    def run(
        self,
        start: TrainingState,
        steps: range,
        rate: Callable[[int], float],
        batches: BatchSource,
        deadline: float | None = None,
    ) -> float:
        """Train over `steps` from `start`, or from the trial's checkpoint.

        Returns the seconds that this took, those before the checkpoint included.

        Raises:
            TrainingError: the loss stopped being finite.
            StopRequested: `deadline` (of time.monotonic) passed.
        """
        state = resume_point(self.trial, start.masked(self.masks))
        state.restore(self.model, self.optimizer, self.stepper.scaler)
        self.recall(start, state)
        began = time.monotonic() - state.seconds
        watch = WatchLoss()
        watch.since = state.step
        checkpoint = SaveCheckpoint(
            self.trial.checkpoint,
            lambda step: replace(self.capture(step), seconds=time.monotonic() - began),
            self.spec.checkpoint_seconds,
            watch,
        )
        with progress(f"{self.trial.name}: training", total=steps.stop, done=state.step) as shown:
            hooks: list[Hook] = [
                self._keep,
                watch,
                *self.hooks,
                RecordMetrics(self.trial.metrics, shown, steps.stop, rate),
                checkpoint,
            ]
            if deadline is not None:
                hooks.append(StopAtDeadline(deadline, checkpoint))
            train(self.stepper, batches, range(state.step, steps.stop), rate, hooks)
        watch.check(steps.stop - 1)
        return time.monotonic() - began


def resume_point(trial: Trial, start: TrainingState) -> TrainingState:
    """The state in the checkpoint of `trial`, or `start` where there is none that can be used."""
    if not trial.checkpoint.exists():
        return start
    try:
        state = TrainingState.load(trial.checkpoint, needs_digest=True)
    except DataError as error:
        logger.warning("%s; %s starts again", error, trial.name)
        return start
    logger.info("%s: resuming at step %d", trial.name, state.step)
    return state
