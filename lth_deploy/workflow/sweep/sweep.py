"""The verb `sweep`: many searches from one file, each in a process of its own, with one table and plot at the end."""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config.sweep_spec import Sweep
from lth_deploy.errors import RecipeError, UsageError
from lth_deploy.progress import Step, progress
from lth_deploy.run.sweep_record import SweepRecord
from lth_deploy.workflow.report import write_sweep_pages
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.recipe_checks import check_recipe
from lth_deploy.workflow.search.shared_dense import dense_key
from lth_deploy.workflow.sweep.order import block, chosen_rows, next_row
from lth_deploy.workflow.sweep.processes import Process, Slot, arguments_of, slots_of
from lth_deploy.workflow.sweep.record import (
    LOST,
    SWEEP,
    Progress,
    dense_is_finished,
    read_progress,
    refused,
    summary_of,
    write_record,
)
from lth_deploy.workflow.sweep.rows import SweepRow, rows_of
from lth_deploy.workflow.sweep.smoke import smoke_rows
from lth_deploy.workflow.sweep.sources import check_sources

logger = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two looks at the processes."""


BEFORE_RECORD = (storage.LOCK, "initial")
"""What a sweep that was killed before its first record may leave behind."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to. record: what SWEEP/sweep.json holds; lost: ids of the rows that failed."""

    path: Path
    finished: bool
    lost: tuple[str, ...]
    record: SweepRecord


def sweep(
    plan: Sweep,
    out: Path,
    *,
    devices: Sequence[str] = ("auto",),
    jobs: int | None = None,
    only: Sequence[str] = (),
    resume: bool = False,
    max_seconds: float | None = None,
    smoke: bool = False,
) -> SweepResult:
    """Run every row of `plan` below the directory `out`, and write its record, table, plot and page there.

    devices: one for each run at a time, such as cuda:0 and cuda:1; with `jobs`, so many runs at once, in turn on these.
    only: names or ids of the rows to run in this call, with `*` for any text, and what those take tickets from.
    Rows are begun in the order of the file; equal dense trainings are shared. A row that fails does not stop the
    others. `resume` takes up what an earlier call left, within a run too. `smoke`: two steps on generated data.

    Raises:
        RecipeError: the file or one of its recipes asks for what cannot be done; nothing is written then.
        UsageError: `out` holds something else, or there is no such device or row.
        StorageError: the disk is full, or another process works on `out`.
        KeyboardInterrupt: the user's; the running rows were stopped first.
    """
    require_torch("a sweep")
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    slots = slots_of(devices, jobs)
    rows = rows_of(plan, out, check_variables=not smoke)
    chosen = chosen_rows(rows, only)
    if not smoke:  # what is refused is refused before anything is written
        _check(rows)
    with storage.locked(out, lambda: _require_place(out, resume)):
        storage.remove_stale_temporaries(out)
        if smoke:
            rows = smoke_rows(rows, out)
            _check(rows)
        _refuse_other_runs(rows)
        states = read_progress(out, rows) if (out / SWEEP).exists() else {row.id: Progress() for row in rows}
        work = _Work(plan, out, rows, chosen, states, deadline)
        work.record()
        finished = sum(states[row.id].state == "finished" for row in rows)
        with _ended_by_sigterm(), progress("runs of the sweep", total=len(rows), done=finished) as step:
            work.run(slots, step)
        record = work.publish()
    lost = tuple(row.id for row in rows if states[row.id].state in LOST)
    return SweepResult(out, record.finished, lost, record)


@dataclass(frozen=True)
class _Work:
    """The rows of one call and where they are."""

    plan: Sweep
    out: Path
    rows: list[SweepRow]
    chosen: set[str]
    progress: dict[str, Progress]
    deadline: float | None

    def record(self) -> SweepRecord:
        return write_record(self.out, self.plan, self.rows, self.progress)

    def publish(self) -> SweepRecord:
        """Write the record with its plot and page, which show a half-finished sweep too."""
        record = self.record()
        write_sweep_pages(self.out)
        return record

    def run(self, slots: Sequence[Slot], step: Step) -> None:
        """Keep every slot busy until nothing is left that can run."""
        keys = {row.id: dense_key(row.recipe) for row in self.rows}
        running: dict[str, Process] = {}
        try:
            while True:
                free = [slot for slot in slots if not any(process.slot is slot for process in running.values())]
                for slot in free:
                    found = (
                        None
                        if self._is_late()
                        else next_row(
                            self.rows, self.chosen, self.progress, lambda row: keys[row.id], dense_is_finished
                        )
                    )
                    if found is None:
                        break
                    running[found[0].id] = self._start(*found, slot)
                if not running:
                    return
                time.sleep(POLL)
                for name in [name for name, process in running.items() if self._has_ended(name, process)]:
                    del running[name]
                    step(detail=f"{name}: {self.progress[name].state}")
        except BaseException:
            self._stop(running)
            raise

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _start(self, row: SweepRow, dense: SweepRow | None, slot: Slot) -> Process:
        recipe = self.out / "recipes" / f"{row.id}.yaml"
        storage.write_text(recipe, row.recipe.to_yaml())
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        arguments = arguments_of(recipe, row.run, slot.device, dense.run if dense else None, left)
        one = self.progress[row.id]
        one.state, one.device, one.command = "running", slot.name, ["lth-deploy", *arguments]
        one.dense_from = dense.id if dense else one.dense_from
        self.record()
        logger.info("%s: begins on %s", row.id, slot.name)
        return Process(row.id, slot, arguments)

    def _has_ended(self, name: str, process: Process) -> bool:
        """Record the end of a process; whether it has come."""
        code = process.poll()
        if code is None:
            return False
        row = next(row for row in self.rows if row.id == name)
        one = self.progress[name]
        one.seconds += process.seconds
        one.exit_code = code
        if code == 0:
            one.state = "finished" if summary_of(row) else "unfinished"
        else:
            one.state, one.error = "failed", process.error(code)
            logger.error("%s failed: %s", name, one.error)
        block(self.rows, self.progress)
        self.publish()
        done = sum(self.progress[row.id].state == "finished" for row in self.rows)
        logger.info(
            "%s: %s after %.0f s; %d of %d runs are finished", name, one.state, one.seconds, done, len(self.rows)
        )
        return True

    def _stop(self, running: dict[str, Process]) -> None:
        """End all processes, and say that their rows are to be gone on with."""
        for process in running.values():
            process.interrupt()
        for name, process in running.items():
            process.stop()
            self.progress[name].state = "unfinished"
            self.progress[name].seconds += process.seconds
        if running:
            self.publish()


def _require_place(out: Path, resume: bool) -> None:
    if (out / SWEEP).exists():
        if not resume:
            raise UsageError(f"{out} holds a sweep already; go on with --resume, or choose another --out")
    elif out.exists() and not all(_is_before_record(file.name) for file in out.iterdir()):
        raise UsageError(f"{out} is not empty, and what it holds is no sweep; choose another --out")


def _is_before_record(name: str) -> bool:
    return name in BEFORE_RECORD or name.startswith(f".{SWEEP}.tmp-")


def _refuse_other_runs(rows: Sequence[SweepRow]) -> None:
    for row in rows:
        reason = refused(row)
        if reason is not None:
            raise UsageError(f"{reason}; choose another --out, or remove that directory")


def _check(rows: Sequence[SweepRow]) -> None:
    """Refuse before any run what one of them would be refused for."""
    _refuse_other_runs(rows)
    for row in rows:
        try:
            check_recipe(row.recipe)
        except (RecipeError, UsageError) as error:
            raise type(error)(f"row '{row.id}': {error}") from error
    check_sources(rows)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let a request to end stop the running rows as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
