"""Callbacks: what is said of a search while it goes on. They look on, and cannot change or end it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_deploy.config.recipe import Recipe
from lth_deploy.run.summary import RunSummary
from lth_deploy.run.trial_result import TrialResult

logger = logging.getLogger(__name__)


class Callback:
    """The moments of a search and of an export; every method may be left as it is.

    A method is called on rank 0, between steps of the training. One that raises is reported once, and its object is
    not called again; the search goes on.
    """

    def begin(self, run: Path, recipe: Recipe) -> None:
        """A search begins, or goes on, in the directory `run`."""

    def prune(self, trial: str, step: int, zeros: Mapping[str, float]) -> None:
        """The masks of a trial hold from `step` on. zeros: share of each prunable layer, and `all` of all together."""

    def rewind(self, trial: str, step: int) -> None:
        """A trial begins with the state that the dense training had after `step` steps."""

    def epoch(self, trial: str, epoch: float, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Another epoch of a trial is done, or its last step. losses: of that step, by name. rate: learning rate."""

    def checkpoint(self, trial: str, step: int, file: Path) -> None:
        """A checkpoint was written after `step` steps."""

    def level(self, result: TrialResult) -> None:
        """A trial is finished: a level, the dense training or a control. AP as a share, by split, kind and metric."""

    def end(self, run: Path, summary: RunSummary) -> None:
        """The search ended, finished or at its time limit."""

    def export(self, run: Path, trial: str, files: Sequence[Path]) -> None:
        """A trial was exported."""


@dataclass
class Callbacks:
    """Several callbacks, of which none can do harm."""

    members: list[Callback]

    def begin(self, run: Path, recipe: Recipe) -> None:
        """See `Callback`."""
        self._call("begin", run, recipe)

    def prune(self, trial: str, step: int, zeros: Mapping[str, float]) -> None:
        """See `Callback`."""
        self._call("prune", trial, step, zeros)

    def rewind(self, trial: str, step: int) -> None:
        """See `Callback`."""
        self._call("rewind", trial, step)

    def epoch(self, trial: str, epoch: float, step: int, losses: Mapping[str, float], rate: float) -> None:
        """See `Callback`."""
        self._call("epoch", trial, epoch, step, losses, rate)

    def checkpoint(self, trial: str, step: int, file: Path) -> None:
        """See `Callback`."""
        self._call("checkpoint", trial, step, file)

    def level(self, result: TrialResult) -> None:
        """See `Callback`."""
        self._call("level", result)

    def end(self, run: Path, summary: RunSummary) -> None:
        """See `Callback`."""
        self._call("end", run, summary)

    def export(self, run: Path, trial: str, files: Sequence[Path]) -> None:
        """See `Callback`."""
        self._call("export", run, trial, files)

    def _call(self, moment: str, *arguments: Any) -> None:
        for one in list(self.members):
            method: Callable[..., None] = getattr(one, moment)
            try:
                method(*arguments)
            except Exception as error:  # whatever it is, a training of days does not end for it
                self.members.remove(one)
                said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                logger.warning(
                    "the callback %s failed at '%s' (%s); it is not called again, and the search goes on",
                    type(one).__name__,
                    moment,
                    said,
                )
