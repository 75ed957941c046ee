"""What a sweep knows of its rows, as it stands in SWEEP/sweep.json: states, errors, and what finished runs found."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.sweep_spec import Sweep
from lth_deploy.errors import DataError
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.run.directory import RunDirectory, read_metrics, verify_summary
from lth_deploy.run.summary import RunSummary, TrialSummary, load_run
from lth_deploy.run.sweep_record import SweepRecord, SweepRun, SweepTicket, SweepTrial, load_sweep_record
from lth_deploy.workflow.sweep.rows import SweepRow
from lth_deploy.workflow.sweep.starts import host_of_start, start_file

logger = logging.getLogger(__name__)

SWEEP = "sweep.json"

State = Literal["waiting", "running", "unfinished", "finished", "failed", "blocked"]
"""running: handed to a launcher; unfinished: stopped by a time limit or an interruption; blocked: a row that it takes
tickets from failed."""

HANDED_OUT = ("queued", "running")
"""States in the record of a row that was handed to a launcher: queued until it begins."""

LOST: tuple[State, ...] = ("failed", "blocked")


@dataclass
class Progress:
    """How far one row is. seconds: of this and earlier calls, as its processes took; error: why it was lost.

    job: its number on a cluster, for a later call.
    """

    state: State = "waiting"
    error: str | None = None
    exit_code: int | None = None
    seconds: float = 0.0
    device: str | None = None
    job: str | None = None
    dense_from: str | None = None
    command: list[str] = field(default_factory=list)


def write_record(out: Path, sweep: Sweep, rows: Sequence[SweepRow], progress: dict[str, Progress]) -> SweepRecord:
    """Write SWEEP/sweep.json in one atomic step, and return what it holds."""
    axis = axis_of_plot(sweep, rows)
    record = SweepRecord(
        name=sweep.spec.name,
        source=sweep.document.source,
        finished=all(progress[row.id].state == "finished" for row in rows),
        x=axis,
        rows=[_run(row, progress[row.id], out, axis) for row in rows],
    )
    storage.write_json(out / SWEEP, record.as_json())
    return record


def read_progress(out: Path, rows: Sequence[SweepRow]) -> dict[str, Progress]:
    """Where an earlier call left the rows: finished where the run itself says so, else waiting again.

    Raises:
        DataError: sweep.json is no record of a sweep.
    """
    recorded = {run.id: run for run in load_sweep_record(out / SWEEP)[0].rows}
    return {row.id: _progress(row, recorded.get(row.id)) for row in rows}


def _progress(row: SweepRow, recorded: SweepRun | None) -> Progress:
    state: State = "waiting" if summary_of(row) is None else "finished"
    if recorded is None:
        return Progress(state)
    return Progress(
        state,
        seconds=recorded.seconds or 0.0,
        device=recorded.device,
        job=recorded.job if recorded.state in HANDED_OUT else None,
        dense_from=recorded.dense_from,
        command=recorded.command or [],
    )


def shown_state(state: str, start: Path) -> str:
    """The state of a row for its record: one that was handed out is queued until it begins. start: its start file."""
    if state not in HANDED_OUT:
        return state
    return "queued" if host_of_start(start) is None else "running"


def summary_of(row: SweepRow) -> RunSummary | None:
    """The summary of a row's run if that is finished; None if there is none yet."""
    file = row.run / "summary.json"
    if not file.is_file():
        return None
    try:
        verify_summary(file)
    except DataError as error:
        logger.warning("%s: %s", row.id, error)
        return None
    summary, _ = load_run(file)
    return summary if summary.finished and summary.recipe_digest == row.recipe.digest() else None


def dense_is_finished(row: SweepRow) -> bool:
    """Whether the dense training of a row's run is on disk."""
    if not (row.run / "manifest.json").is_file():
        return False
    return RunDirectory.open(row.run).trial("dense").finished


def axis_of_plot(sweep: Sweep, rows: Sequence[SweepRow]) -> str | None:
    """The axis along which AP is drawn: the one that is asked for, else the first with numbers in all shown rows."""
    shown = [row for row in rows if row.shown]
    if sweep.spec.x is not None:
        return sweep.spec.x
    for key in dict.fromkeys(key for row in shown for key in row.choices):
        numbers = [row.choices[key].number if key in row.choices else None for row in shown]
        if None not in numbers and len(set(numbers)) > 1:
            return key
    return None


def _run(row: SweepRow, progress: Progress, out: Path, x: str | None) -> SweepRun:
    choice = row.choices.get(x) if x else None
    labels = {key: choice.label for key, choice in row.choices.items()}
    other_labels = [label for key, label in labels.items() if key != x]
    return SweepRun(
        id=row.id,
        name=row.name,
        labels=labels,
        x=choice.number if choice else None,
        series=", ".join([row.name, *other_labels]),
        shown=row.shown,
        seed=row.seed,
        settings=row.settings,
        recipe_digest=row.recipe.digest(),
        needs=list(row.needs),
        run=str(row.run.relative_to(out)),
        state=shown_state(progress.state, Path(start_file(out, row.id))),
        error=progress.error,
        exit_code=progress.exit_code,
        seconds=round(progress.seconds, 2),
        device=progress.device,
        job=progress.job,
        dense_from=progress.dense_from,
        command=progress.command,
        **_findings(row, progress),
    )


def _findings(row: SweepRow, progress: Progress) -> dict[str, Any]:
    """The fields that only a finished run has: its dense control, tickets with their controls, early masks."""
    summary = summary_of(row) if progress.state == "finished" else None
    if summary is None:
        return {"metric": None, "dense": None, "tickets": [], "early_masks": []}
    control = summary.control
    return {
        "metric": summary.main_kind,
        "dense": SweepTrial(**_figures(control, summary)) if control else None,
        "tickets": [_ticket(trial, summary) for trial in summary.of_kind("ticket")],
        "early_masks": read_metrics(EarlyFiles(RunDirectory(row.run).trial("dense")).lines),
    }


def _ticket(ticket: TrialSummary, summary: RunSummary) -> SweepTicket:
    level = ticket.name.removeprefix("level_")
    others = {kind: summary.trial(f"{kind}_{level}") for kind in ("random", "reinit")}
    others["int8"] = summary.trial(f"{ticket.name}_int8")
    return SweepTicket(
        **_figures(ticket, summary),
        **{kind: SweepTrial(**_figures(trial, summary)) for kind, trial in others.items() if trial is not None},
    )


def _figures(trial: TrialSummary, summary: RunSummary) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "sparsity": trial.sparsity,
        "sparsity_prunable": trial.sparsity_prunable,
        "sparsity_all": trial.sparsity_all,
        "zero_macs": trial.zero_macs,
        "val_ap": trial.ap("val", summary.main_kind),
        "test_ap": trial.ap("test", summary.main_kind),
        "seconds": trial.seconds,
        "hardware": trial.hardware,
    }


def refused(row: SweepRow) -> str | None:
    """Why a run that is there cannot be gone on with as this row; None if it can."""
    if not (row.run / "manifest.json").is_file():
        return None
    made: Recipe = RunDirectory.open(row.run).recipe()
    if made.digest() == row.recipe.digest():
        return None
    return f"{row.run} was made with another recipe than row '{row.id}' has now"
