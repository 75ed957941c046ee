"""`lth-deploy measure-costs`."""

from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.options import Json
from lth_deploy.commands.output import print_json, print_table


def measure_costs(
    out: Annotated[Path | None, typer.Option(help="Target file to write, beside this machine's own table.")] = None,
    name: Annotated[str, typer.Option(help="Name of the target in that file.")] = "this_machine",
    no_keep: Annotated[bool, typer.Option("--no-keep", help="Do not use it for exports on this machine.")] = False,
    as_json: Json = False,
) -> None:
    """Measure what operators cost on this machine, for exports and predictions; takes less than a minute."""
    from lth_deploy.workflow.measure_costs.measure_costs import measure_costs as measure

    made = measure(out, name=name, keep=not no_keep)
    rows = [["written to", ", ".join(map(str, made.files)) or "no file"], ["processor", made.table.cpu]]
    rows += [["rates", f"{len(made.table.kernels)} of the kernels, {len(made.table.stock)} of the stock runtime"]]
    rows += [["ratios are off by", f"{100 * (made.table.error or 0):.0f} %"], ["seconds", f"{made.seconds:.0f}"]]
    print_table(["what", "found"], rows, to_stderr=as_json)
    if as_json:
        print_json({"files": [str(file) for file in made.files], "costs": made.table.model_dump(mode="json")})
