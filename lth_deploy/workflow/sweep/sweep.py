"""The verb `sweep`: many searches from one file, each in a process of its own, with one table and plot at the end."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config.sweep_spec import Sweep
from lth_deploy.errors import RecipeError, UsageError
from lth_deploy.progress import progress
from lth_deploy.run.remote.sweep_mirror import INITIAL
from lth_deploy.run.sweep_record import SweepRecord
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.recipe_checks import check_recipe
from lth_deploy.workflow.sweep.launchers import launcher_of
from lth_deploy.workflow.sweep.order import chosen_rows
from lth_deploy.workflow.sweep.place import place_of
from lth_deploy.workflow.sweep.record import LOST, SWEEP, Progress, read_progress, refused
from lth_deploy.workflow.sweep.rows import SweepRow, rows_of
from lth_deploy.workflow.sweep.smoke import smoke_rows
from lth_deploy.workflow.sweep.sources import check_sources
from lth_deploy.workflow.sweep.work import Work, finished_rows

BEFORE_RECORD = (storage.LOCK, INITIAL)
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
    out: Path | str,
    *,
    devices: Sequence[str] = ("auto",),
    jobs: int | None = None,
    only: Sequence[str] = (),
    resume: bool = False,
    max_seconds: float | None = None,
    smoke: bool = False,
    launcher: str = "local",
    launcher_options: Mapping[str, Any] | None = None,
) -> SweepResult:
    """Run every row of `plan` below the directory or URL `out`, and write its record, table, plot and page there.

    devices: one for each run at a time, such as cuda:0 and cuda:1; with `jobs`, so many runs at once, in turn on these.
    only: names or ids of the rows to run in this call, with `*` for any text, and what those take tickets from.
    Rows are begun in the order of the file; equal dense trainings are shared. A row that fails does not stop the
    others. `resume` takes up what an earlier call left, within a run too. `smoke`: two steps on generated data.
    launcher: local, slurm or ray; where the rows run. launcher_options: its settings, see docs/sweeps.md.

    Raises:
        RecipeError: the file or one of its recipes asks for what cannot be done; nothing is written then.
        UsageError: `out` holds something else, there is no such device, launcher or row, or a cluster refuses rows.
        MissingExtraError: the launcher's package is not installed.
        StorageError: the disk is full, the store refuses, or another process works on `out`.
        KeyboardInterrupt: the user's; the running rows were stopped first.
    """
    require_torch("a sweep")
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    place = place_of(out)
    rows = rows_of(plan, place.local, url=place.name if place.mirror else None, check_variables=not smoke)
    chosen = chosen_rows(rows, only)
    if not smoke:  # what is refused is refused before anything is written
        _check(rows)
        if place.mirror is None:
            _refuse_other_runs(rows)
    with (
        closing(launcher_of(launcher, place.local, devices, jobs, launcher_options)) as cluster,
        place.held(),
        storage.locked(place.local, lambda: _require_place(place.local, resume)),
    ):
        storage.remove_stale_temporaries(place.local)
        if smoke:
            rows = smoke_rows(rows, place.local)
            _check(rows)
        _refuse_other_runs(rows)
        begun = (place.local / SWEEP).exists()
        states = read_progress(place.local, rows) if begun else {row.id: Progress() for row in rows}
        work = Work(plan, place, rows, chosen, states, deadline)
        work.record()
        done = finished_rows(rows, states)
        with _ended_by_sigterm(), progress("runs of the sweep", total=len(rows), done=done) as step:
            work.run(cluster, step)
        record = work.publish()
    lost = tuple(row.id for row in rows if states[row.id].state in LOST)
    return SweepResult(place.local, record.finished, lost, record)


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
