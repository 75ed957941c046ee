"""`lth-deploy report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[Path, typer.Argument(help="Run or sweep directory, or a benchmark's JSON.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
) -> None:
    """One self-contained HTML page: plots, tables and pictures."""
    from lth_deploy.workflow.report import report as write_report

    print(write_report(source, out))
