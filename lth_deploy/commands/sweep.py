"""`lth-deploy sweep`."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lth_deploy.commands.options import SweepArgument
from lth_deploy.commands.output import print_json, print_table, seconds_of, shown

if TYPE_CHECKING:
    from lth_deploy.reporting.tables import Cell, Column
    from lth_deploy.workflow.sweep.status import SweepStatus

WATCH_SECONDS = 2.0


def sweep(
    file: SweepArgument,
    folder: Annotated[str | None, typer.Argument(help="Of `sweep status`: the sweep directory, or its URL.")] = None,
    out: Annotated[
        str | None, typer.Option(help="Sweep directory, or a URL such as s3://bucket/sweep; default runs/NAME.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; several GPUs as cuda:0,cuda:1.")] = "auto",
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at once; default one a device.")] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only rows of this name or id (* for any text), and their sources."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep in --out.")] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop after this long, for instance 2h.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Every row in two steps on generated data.")] = False,
    launcher: Annotated[str, typer.Option(help="Where rows run: local, slurm or ray.")] = "local",
    launcher_options: Annotated[
        list[str] | None,
        typer.Option("--launcher-option", metavar="KEY=VALUE", help="A setting of the launcher, see docs/sweeps.md."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="With `status`: show it until the sweep ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Run every row of a sweep: many searches, one table and plot. Exit code 1 when a row was lost.

    `lth-deploy sweep status DIR` shows how far a sweep is, from any machine that sees DIR.
    """
    if file == "status":
        _show_status(folder or out, watch, as_json)
        return
    if folder is not None:
        raise typer.BadParameter(f"'{folder}' is one argument too many; only `sweep status DIR` takes two")
    from lth_deploy.config.bundled import sweep_file
    from lth_deploy.config.sweep_spec import load_sweep
    from lth_deploy.errors import TrainingError
    from lth_deploy.run.remote.place_files import inside
    from lth_deploy.workflow.sweep.sweep import sweep as run_sweep

    loaded = load_sweep(sweep_file(file))
    place = out or str(Path("runs") / loaded.spec.name)
    result = run_sweep(
        loaded,
        place,
        devices=device.split(","),
        jobs=jobs,
        only=rows or (),
        resume=resume,
        max_seconds=seconds_of(max_time),
        smoke=smoke,
        launcher=launcher,
        launcher_options=_settings(launcher_options or []),
    )
    print_table(*_table(result.path), to_stderr=as_json)
    if as_json:
        print_json(result.record.as_json())
    more = [f"--launcher {launcher}", *(f"--launcher-option {shlex.quote(one)}" for one in launcher_options or [])]
    where = "" if launcher == "local" else f" {' '.join(more)}"
    again = f"lth-deploy sweep {file} --out {place} --resume{' --smoke' if smoke else ''}{where}"
    if result.lost:
        reasons = [f"  {row.id}: {row.error}" for row in result.record.rows if row.error]
        head = f"{len(result.lost)} of {len(result.record.rows)} runs were lost; the others are done as far as they go"
        raise TrainingError("\n".join([head, *reasons, f"remove the cause and go on with: {again}"]))
    if not result.finished:
        print(f"not finished; go on with: {again}", file=sys.stderr)
    print(f"plot and page: {inside(place, 'report.html')}", file=sys.stderr)


def _show_status(place: str | None, watch: bool, as_json: bool) -> None:
    """Print the rows; again every few seconds with `watch`, until none runs any more."""
    from lth_deploy.errors import UsageError
    from lth_deploy.workflow.sweep.status import status_of_place

    if place is None:
        raise UsageError("sweep status: give the sweep directory, for instance: lth-deploy sweep status runs/mine")
    while True:
        status = status_of_place(place)
        if watch and sys.stdout.isatty():
            print("\x1b[2J\x1b[H", end="")
        if as_json:
            print_json(status.as_json())
        else:
            print_table(["row", "state", "trials", "now", "step", "loss", "last sign", "where"], status_lines(status))
            counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
            print(f"{status.name}: {counts}")
            for row in status.rows:
                if row.error:
                    print(f"{shown(row.id)}: {shown(row.error)}")
        if not watch or not ({"running", "queued", "waiting"} & status.counts.keys()):
            return
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def status_lines(status: "SweepStatus") -> list[list[str]]:
    """One line a row."""
    lines = []
    for row in status.rows:
        step = "" if row.step is None else f"{row.step} of {row.steps}" if row.steps else str(row.step)
        loss = "" if row.loss is None else f"{row.loss:.3f}"
        age = "" if row.age is None else f"{row.age:.0f} s ago"
        trials = f"{row.done} of {row.planned}" if row.planned else ""
        where = ", ".join(part for part in (row.device, row.host) if part)
        lines.append([row.id, row.state, trials, row.trial or "", step, loss, age, where])
    return lines


def _settings(options: list[str]) -> dict[str, Any]:
    """Settings of a launcher, KEY=VALUE with a value in YAML."""
    from lth_deploy.config import strict_yaml
    from lth_deploy.errors import UsageError

    settings = {}
    for option in options:
        key, given, text = option.partition("=")
        if not given or not key:
            raise UsageError(f"--launcher-option {option}: write it as KEY=VALUE, for instance partition=gpu")
        settings[key] = strict_yaml.parse(text, f"--launcher-option {key}").value
    return settings


def _table(folder: Path) -> tuple[list[str], list[list[str]]]:
    from lth_deploy.reporting.sweep.tables import rows
    from lth_deploy.run.sweep_record import load_sweep_record

    table = rows(load_sweep_record(folder / "sweep.json")[0])
    lines = [[_cell(*pair) for pair in zip(table.columns, line.cells, strict=True)] for line in table.lines]
    return [column.title for column in table.columns], lines


def _cell(column: "Column", cell: "Cell") -> str:
    if not cell.note:
        return cell.text
    return f"{cell.text} ({cell.note})" if column.is_text else f"{cell.text} {cell.note}"
