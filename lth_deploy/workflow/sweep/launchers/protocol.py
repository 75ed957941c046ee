"""What a launcher is: something that runs rows of a sweep somewhere, and says when they have ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from lth_deploy.config.sweep_spec import Resources
from lth_deploy.run.remote.place_files import resolved


@dataclass(frozen=True)
class Task:
    """One row to run: a `find-ticket` process, wherever it runs.

    recipe: its file. run: its run directory. start_file: to be written when it begins. dense_from: the run whose dense
    training it takes. These are paths, or URLs. resources: what it needs, None where the launcher decides. program:
    what Python runs. seconds_left: when it has to stop. brought: a URL and the path at which recipes expect its files.
    """

    name: str
    recipe: str
    run: str
    start_file: str
    resources: Resources
    program: str
    dense_from: str | None = None
    seconds_left: float | None = None
    brought: tuple[str, Path] | None = None

    def absolute(self) -> "Task":
        """The same for a process that has another working folder."""
        return replace(
            self,
            recipe=resolved(self.recipe),
            run=resolved(self.run),
            start_file=resolved(self.start_file),
            dense_from=resolved(self.dense_from) if self.dense_from else None,
        )

    def arguments(self, device: str) -> list[str]:
        """Its command line after the program's name; a run that is there already is gone on with."""
        arguments = ["find-ticket", self.recipe, "--out", self.run, "--device", device, "--resume"]
        if self.dense_from is not None:
            arguments += ["--dense-from", self.dense_from]
        if self.seconds_left is not None:
            arguments += ["--max-time", f"{self.seconds_left:.1f}s"]
        return arguments


@dataclass(frozen=True)
class Ended:
    """How a row ended. error: why, unless its exit code is 0. seconds: that it took."""

    code: int
    error: str | None = None
    seconds: float = 0.0


class Job(Protocol):
    """A row that was begun.

    place: where, for people. number: by which the launcher finds it again in a later call, if it can.
    """

    place: str
    arguments: list[str]
    number: str | None

    def poll(self) -> Ended | None:
        """How it ended; None while it waits or runs."""

    def interrupt(self) -> None:
        """Ask it to end; what a search has on disk is whole at any moment."""

    def stop(self) -> Ended:
        """Wait for its end after `interrupt`, and insist when it takes too long."""


class Launcher(Protocol):
    """Runs rows. Each is started once its tickets and dense training are there, so none waits where it runs."""

    def room(self, running: Sequence[Job]) -> int:
        """How many rows may be begun now."""

    def start(self, tasks: Sequence[Task]) -> list[Job]:
        """Begin rows that can run at once, at most as many as there is room for.

        Raises:
            UsageError: what runs them refuses them.
        """

    def find(self, task: Task, number: str) -> Job | None:
        """A row that an earlier call began and that has not ended; None where it has, or ended with that call."""

    def close(self) -> None:
        """Give back what the launcher holds; jobs that still run are not touched."""
