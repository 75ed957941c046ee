"""Progress of long work: bars on a terminal, otherwise a log line every few seconds. Nothing goes to stdout.

    with progress("calibration", total=len(images)) as step:
        for image in images:
            ...
            step()

Work in a child process is shown too: the child shows it with `Sent`, and its parent has a `Receiver`.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 10.0
"""Seconds between two log lines of one task."""

BAR_AFTER_SECONDS = 1.0
"""A task has a bar once it has lasted this long, so that short work does not flicker."""

_SEND_SECONDS = 0.2
_DRAW_SECONDS = 0.1

log = logging.getLogger(__name__)


@dataclass
class Task:
    """Work in progress. total: number of steps, None where it is unknown; done: steps that are finished."""

    title: str
    total: int | None = None
    done: int = 0
    detail: str = ""
    began: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        """Keep what the pace is measured from."""
        self.first = self.done
        self.reported = self.began

    def due(self, seconds: float) -> bool:
        """Whether the last report is so long ago; a report that is due counts as made."""
        now = time.monotonic()
        if now - self.reported < seconds:
            return False
        self.reported = now
        return True

    def text(self) -> str:
        """The state in words: what is done, of how much, the pace and the time left."""
        parts = [
            f"{self.done} of {self.total}" if self.total is not None else f"{self.done}" if self.done else "running"
        ]
        if self.detail:
            parts.append(self.detail)
        elapsed, steps = time.monotonic() - self.began, self.done - self.first
        if steps and self.total is not None:
            pace = elapsed / steps
            parts += [f"{pace:.2f} s each", f"{_duration(pace * max(0, self.total - self.done))} left"]
        else:
            parts.append(f"{_duration(elapsed)} so far")
        return f"{self.title}: {', '.join(parts)}"


class Display(Protocol):
    """Shows tasks."""

    def begin(self, task: Task) -> None:
        """A task begins."""

    def update(self, task: Task) -> None:
        """Steps of a task are done."""

    def end(self, task: Task) -> None:
        """A task has ended, finished or not."""


class Step:
    """What the work calls after each of its steps."""

    def __init__(self, task: Task, display: Display) -> None:
        self._task, self._display = task, display

    def __call__(self, steps: int = 1, *, detail: str | None = None) -> None:
        """`steps` more are done; `detail` is shown beside them from now on."""
        self._task.done += steps
        if detail is not None:
            self._task.detail = detail
        self._display.update(self._task)


@contextmanager
def progress(title: str, total: int | None = None, done: int = 0) -> Iterator[Step]:
    """Show the work in the body. done: steps that were finished before, for work that is resumed."""
    task, display = Task(title, total, done), _display
    display.begin(task)
    try:
        yield Step(task, display)
    finally:
        display.end(task)


class Lines:
    """A log line of each task every `LINE_SECONDS`, and a last one for a task that had lines."""

    def begin(self, task: Task) -> None:
        """The first line comes when the task has lasted for a while."""

    def update(self, task: Task) -> None:
        """Log when it is time."""
        if task.due(LINE_SECONDS):
            log.info("%s", task.text())

    def end(self, task: Task) -> None:
        """Log the end of long work."""
        elapsed = time.monotonic() - task.began
        if elapsed >= LINE_SECONDS:
            log.info("%s: %s in %s", task.title, "done" if task.done == task.total else "ended", _duration(elapsed))


class Bars:
    """Bars on a terminal, one under the other; log lines scroll above them."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._rows: dict[int, Any] = {}
        self._progress: Progress | None = None
        self._drawn = 0.0

    def begin(self, task: Task) -> None:
        """Open the display with the first task."""
        if self._progress is None:
            self._progress = _bars()
            self._progress.start()
        title = "".join(letter if letter.isprintable() else "?" for letter in task.title)
        self._rows[id(task)] = self._progress.add_task(title, total=task.total, completed=task.done, detail="")
        self._progress.refresh()

    def update(self, task: Task) -> None:
        """Move the bar; handlers other than the terminal's get their lines too."""
        if self._progress is not None:
            self._progress.update(self._rows[id(task)], completed=task.done, detail=task.detail)
            if time.monotonic() - self._drawn >= _DRAW_SECONDS:
                self._progress.refresh()
                self._drawn = time.monotonic()
        self._lines.update(task)

    def end(self, task: Task) -> None:
        """Remove the bar, and close the display with the last one."""
        if self._progress is not None:
            self._progress.remove_task(self._rows.pop(id(task)))
            if not self._rows:
                self._progress.stop()
                self._progress = None
        self._lines.end(task)


class Sent:
    """Hands the state of tasks to `send`, as JSON values, for a `Receiver` in the parent process."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send, self._number = send, count()
        self._keys: dict[int, int] = {}

    def begin(self, task: Task) -> None:
        """Announce it."""
        self._keys[id(task)] = next(self._number)
        self._report(task)

    def update(self, task: Task) -> None:
        """Report when it is time: a message for each step could slow the work down."""
        if task.due(_SEND_SECONDS):
            self._report(task)

    def end(self, task: Task) -> None:
        """Report the end."""
        self._report(task, ended=True)
        del self._keys[id(task)]

    def _report(self, task: Task, ended: bool = False) -> None:
        state = {"title": task.title, "total": task.total, "done": task.done, "detail": task.detail}
        self._send({"key": self._keys[id(task)], "ended": ended, **state})


class Receiver:
    """Shows in this process what a child process sends."""

    def __init__(self) -> None:
        self._display = _display
        self._tasks: dict[int, Task] = {}

    def receive(self, state: Mapping[str, Any]) -> None:
        """Show what `Sent` has sent."""
        key = int(state["key"])
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = Task(str(state["title"]), state["total"], int(state["done"]))
            self._display.begin(task)
        task.done, task.detail = int(state["done"]), str(state["detail"])
        self._display.update(task)
        if state["ended"]:
            self._display.end(self._tasks.pop(key))

    def close(self) -> None:
        """End what a child that has died left open."""
        for task in self._tasks.values():
            self._display.end(task)
        self._tasks.clear()


_display: Display = Lines()


def show(display: Display) -> None:
    """Show tasks that begin from now on with `display`; `Lines` is the default."""
    global _display
    _display = display


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Logs to stderr, above the bars; where there are bars, log lines about progress would repeat them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """What stderr is now: open bars put their own stream in its place."""
        return sys.stderr

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what a bar shows."""
        if record.name == __name__ and isinstance(_display, Bars):
            return False
        return bool(super().filter(record))


def _bars() -> "Progress":
    """Bars of the tasks that have lasted for `BAR_AFTER_SECONDS`, on stderr."""
    from rich.console import Console, Group
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Late(Progress):
        def get_renderable(self) -> Group:
            late = [task for task in self.tasks if (task.elapsed or 0.0) >= BAR_AFTER_SECONDS]
            return Group(*([self.make_tasks_table(late)] if late else []))

    return Late(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,  # a thread that draws would disturb what is being timed
        redirect_stdout=False,
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
