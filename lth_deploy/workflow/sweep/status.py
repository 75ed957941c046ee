"""`sweep status`: how far the rows of a sweep are, from what lies on the disk; any machine that sees it can look."""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import DataError, LthError
from lth_deploy.pruning.search.plan import plan_trials
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.remote.location import is_remote
from lth_deploy.run.remote.look import copy_files
from lth_deploy.run.sweep_record import SweepRun, load_sweep_record
from lth_deploy.workflow.sweep.record import HANDED_OUT, SWEEP, shown_state
from lth_deploy.workflow.sweep.starts import host_of_start, start_file

_TAIL = 4096
_SMALL_FILES = (SWEEP, "starts/*.json", "runs/*/manifest.json", "runs/*/recipe.yaml")
_FILES_OF_A_TRAINING = ("log.txt", "trials/*/result.json", "trials/*/metrics.jsonl")


@dataclass(frozen=True)
class RowStatus:
    """One row. host: that it runs on. done, planned: its trials. trial, step, loss: of the training under way.

    age: seconds since it last wrote something.
    """

    id: str
    state: str
    device: str | None = None
    host: str | None = None
    done: int = 0
    planned: int = 0
    trial: str | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    age: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class SweepStatus:
    """A sweep's rows in their order."""

    name: str
    folder: str
    finished: bool
    rows: tuple[RowStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by state."""
        return dict(Counter(row.state for row in self.rows))

    def as_json(self) -> dict[str, Any]:
        """Plain values for programs."""
        return {
            "name": self.name,
            "folder": self.folder,
            "finished": self.finished,
            "counts": self.counts,
            "rows": [asdict(row) for row in self.rows],
        }


def sweep_status(folder: Path) -> SweepStatus:
    """How far the sweep in `folder` is; nothing is locked or written.

    Raises:
        DataError: there is no sweep.
    """
    if not (folder / SWEEP).is_file():
        raise DataError(f"{folder} holds no sweep: it has no {SWEEP}; give the --out of lth-deploy sweep")
    record, _ = load_sweep_record(folder / SWEEP)
    rows = tuple(_row(folder, run) for run in record.rows)
    return SweepStatus(record.name, str(folder), record.finished, rows)


def status_of_place(place: str) -> SweepStatus:
    """How far the sweep in a folder or at a URL is.

    Raises:
        DataError: there is no sweep. StorageError: the place refuses.
    """
    if not is_remote(place):
        return sweep_status(Path(place))
    with storage.scratch("status") as folder:
        copy_files(place, _SMALL_FILES, folder)
        if not (folder / SWEEP).is_file():
            raise DataError(f"{place} holds no sweep: it has no {SWEEP}; give the --out of lth-deploy sweep")
        rows = load_sweep_record(folder / SWEEP)[0].rows
        under_way = [escape(row.run) for row in rows if row.state in HANDED_OUT]
        copy_files(place, [f"{run}/{name}" for run in under_way for name in _FILES_OF_A_TRAINING], folder)
        return replace(sweep_status(folder), folder=place)


def _row(folder: Path, run: SweepRun) -> RowStatus:
    place, start = folder / run.run, Path(start_file(folder, run.id))
    own = all(file.resolve().is_relative_to(folder.resolve()) for file in (place, start))
    try:
        live = _live(RunDirectory.open(place)) if own else {}
    except LthError:  # not begun, or replaced while it was read
        live = {}
    state = shown_state(run.state, start) if own else run.state
    if state != "running":
        live = {key: value for key, value in live.items() if key in ("done", "planned")}
    host = host_of_start(start) if own and state == "running" else None
    return RowStatus(run.id, state, device=run.device, host=host, error=run.error, **live)


def _live(run: RunDirectory) -> dict[str, Any]:
    """What the run directory says of the trials."""
    plans, done = plan_trials(run.recipe()), {trial.name for trial in run.finished_trials()}
    live: dict[str, Any] = {"planned": len(plans), "done": len(done)}
    trial = next((plan.name for plan in plans if plan.name not in done), None)
    if trial is None:
        return live
    files = run.trial(trial)
    signs = [_changed(file) for file in (files.metrics, files.checkpoint, run.log, run.manifest_file)]
    last = _last_record(files.metrics)
    dense = run.trial("dense")
    return {
        **live,
        "trial": trial,
        "step": last.get("step"),
        "steps": dense.read_result().steps[1] if dense.finished else None,
        "loss": last.get("loss"),
        "age": round(max(0.0, time.time() - max(signs)), 1),
    }


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _last_record(metrics: Path) -> dict[str, Any]:
    """Step and loss of the last whole line; empty where there is none yet."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        record = json.loads(lines[-1])
        return {"step": int(record["step"]), "loss": float(record["loss"])}
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
        return {}
