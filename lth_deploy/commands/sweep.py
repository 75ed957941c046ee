"""`lth-deploy sweep`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.options import SweepArgument
from lth_deploy.commands.output import print_json, print_table, seconds_of

if TYPE_CHECKING:
    from lth_deploy.reporting.tables import Cell, Column


def sweep(
    file: SweepArgument,
    out: Annotated[Path | None, typer.Option(help="Sweep directory; default runs/NAME.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; several GPUs as cuda:0,cuda:1.")] = "auto",
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at once; default one a device.")] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only rows of this name or id (* for any text), and their sources."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep in --out.")] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop after this long, for instance 2h.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Every row in two steps on generated data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Run every row of a sweep: many searches, one table and plot. Exit code 1 when a row was lost."""
    from lth_deploy.config.bundled import sweep_file
    from lth_deploy.config.sweep_spec import load_sweep
    from lth_deploy.errors import TrainingError
    from lth_deploy.workflow.sweep.sweep import sweep as run_sweep

    loaded = load_sweep(sweep_file(file))
    folder = out or Path("runs") / loaded.spec.name
    result = run_sweep(
        loaded,
        folder,
        devices=device.split(","),
        jobs=jobs,
        only=rows or (),
        resume=resume,
        max_seconds=seconds_of(max_time),
        smoke=smoke,
    )
    print_table(*_table(result.path), to_stderr=as_json)
    if as_json:
        print_json(result.record.as_json())
    again = f"lth-deploy sweep {file} --out {folder} --resume{' --smoke' if smoke else ''}"
    if result.lost:
        reasons = [f"  {row.id}: {row.error}" for row in result.record.rows if row.error]
        head = f"{len(result.lost)} of {len(result.record.rows)} runs were lost; the others are done as far as they go"
        raise TrainingError("\n".join([head, *reasons, f"remove the cause and go on with: {again}"]))
    if not result.finished:
        print(f"not finished; go on with: {again}", file=sys.stderr)
    print(f"plot and page: {folder / 'report.html'}", file=sys.stderr)


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
