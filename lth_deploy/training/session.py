"""One training of one trial: assembles loop and hooks, and goes on from a checkpoint where there is one."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.errors import DataError
from lth_deploy.progress import progress
from lth_deploy.run.directory import Trial, truncate_metrics
from lth_deploy.training.average import AverageWeights
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
from lth_deploy.training.ranks.process_group import current_ranks
from lth_deploy.training.ranks.states import packed_state, require_same_masks
from lth_deploy.training.state import TrainingState

logger = logging.getLogger(__name__)


MOST_WAITING = 0.05
"""Share of a training's time in which its device may wait for images without a warning."""


class TrialSession(ABC):
    """The training of one trial, whoever carries it out: a model, the files that it fills, masks, and hooks."""

    def __init__(self, model: nn.Module, trial: Trial, masks: Mapping[str, Tensor]) -> None:
        self.model, self.trial, self.masks = model, trial, dict(masks)
        self.hooks: list[Hook] = []
        self.on_checkpoint: Callable[[int], None] = lambda step: None

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
    def rewind(self, state: TrainingState) -> None:
        """Go on from the weights of `state`, and its optimizer's where that is known, pruned as they are now."""

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
        super().__init__(in_layout(model, spec), trial, masks)
        self.spec = spec
        self.optimizer = build_optimizer(model, spec.optimizer)
        self.stepper = Stepper(model, self.optimizer, spec, device)
        self._keep = KeepMask(model, self.masks)
        self._followed = False
        self._average = AverageWeights(model, spec.ema) if spec.ema else None
        if self._average:
            self.add(self._average)

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """From now on `masks` hold: what they prune becomes zero, its optimizer state included."""
        self.masks = dict(masks)
        if self._followed:
            with current_ranks().together({"do": "prune"}, masks):
                pass
        prune_live(self.model, self.optimizer, self._keep, masks)

    def rewind(self, state: TrainingState) -> None:
        """Go on from the weights and the optimizer of `state`, pruned as they are now; steps and loss scale go on."""
        state = state.masked(self.masks)
        if self._followed:
            with current_ranks().together({"do": "rewind"}, packed_state(state, self.masks)):
                pass
        state.restore(self.model, self.optimizer)
        if self._average:
            self._average.begin()

    def capture(self, step: int) -> TrainingState:
        """A copy of the live state, with `step` steps done."""
        state = TrainingState.capture(step, self.model, self.optimizer, self.stepper.scaler, self.memory())
        skipped = {"skipped": self.stepper.skipped} if self.stepper.skipped else {}
        return replace(state, scaler=state.scaler | skipped)

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
        skipped = state.scaler.get("skipped", 0)
        self.stepper.skipped = skipped if type(skipped) is int else 0
        if self._average:
            self._average.begin()
        self.recall(start, state)
        began = time.monotonic() - state.seconds
        watch = WatchLoss(skipped=lambda: self.stepper.skipped)
        watch.since = state.step
        checkpoint = SaveCheckpoint(
            self.trial.checkpoint,
            lambda step: replace(self.capture(step), seconds=time.monotonic() - began),
            self.spec.checkpoint_seconds,
            watch,
            self.on_checkpoint,
        )
        with progress(f"{self.trial.name}: training", total=steps.stop, done=state.step) as shown:
            hooks: list[Hook] = [
                self._keep,
                watch,
                *self.hooks,
                RecordMetrics(self.trial.metrics, shown, steps.stop, rate),
                checkpoint,
                StopAtDeadline(deadline, checkpoint),
            ]
            with self._on_all_ranks(batches) as own:
                train(self.stepper, own, range(state.step, steps.stop), rate, hooks)
        watch.check(steps.stop - 1)
        if self._average:
            self._average.fill()
            self.prune(self.masks)  # what fell on the way is still in the average
        seconds = time.monotonic() - began
        self._report_waiting(seconds - state.seconds)
        return seconds

    def _report_waiting(self, seconds: float) -> None:
        """Say it where the device had to wait for images."""
        waited = self.stepper.waited
        if waited > MOST_WAITING * seconds and waited > 1.0:
            logger.warning(
                "%s: images were not ready for %.0f of %.0f s (%.0f %%); raise training.workers, now %d",
                self.trial.name,
                waited,
                seconds,
                100 * waited / seconds,
                self.spec.workers,
            )

    @contextmanager
    def _on_all_ranks(self, batches: BatchSource) -> Iterator[BatchSource]:
        """Let the other ranks follow the steps in the body, with masks that are the same; gives this rank's batches."""
        ranks = current_ranks()
        if not ranks.shared:
            yield batches
            return
        message: dict[str, Any] = {"do": "train", "scaler": self.stepper.scaler.state_dict()}
        for hook in self.hooks:
            message |= hook.for_all_ranks()
        own, live = batches.part(ranks.rank, ranks.size), self.capture(0)
        try:
            with ranks.together(message, packed_state(live, self.masks)):
                require_same_masks(self.trial.name, self.model, self.masks)
            self._followed = True
            with self.stepper.on_all_ranks():
                yield own
            with ranks.together({"do": "compare_masks"}):
                require_same_masks(self.trial.name, self.model, self.masks)
        finally:
            self._followed = False
            own.close()


def in_layout(model: nn.Module, spec: TrainingSpec) -> nn.Module:
    """`model` with its weights in the layout that a training uses.

    With channels last, convolutions run a third faster on CPUs, and faster still on GPUs with half precision.
    """
    return model.to(memory_format=torch.channels_last if spec.channels_last else torch.contiguous_format)


def prune_live(model: nn.Module, optimizer: torch.optim.Optimizer, keep: KeepMask, masks: Mapping[str, Tensor]) -> None:
    """Let `keep` hold `masks` from now on; what they prune becomes zero, its optimizer state included."""
    keep.keep(masks)
    with torch.no_grad():
        # A frozen norm's scale and shift are buffers.
        for name, parameter in (*model.named_parameters(), *model.named_buffers()):
            if name in masks:
                pruned = ~masks[name].to(parameter.device)
                slots = optimizer.state.get(parameter, {}).values()
                for tensor in (parameter, *(slot for slot in slots if isinstance(slot, Tensor))):
                    if tensor.shape == pruned.shape:
                        tensor.masked_fill_(pruned, 0)


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
