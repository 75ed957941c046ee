"""`lth-deploy inspect`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lth_deploy.commands.options import Json, ShapeOption, VerifyOption
from lth_deploy.commands.output import print_json, print_table, shapes_of, shown


def inspect(
    artifact: Annotated[Path, typer.Argument(help="ONNX file, or run directory.")],
    run_model: Annotated[
        bool, typer.Option("--run", help="Run the model on noise to count MACs that its sizes do not tell.")
    ] = False,
    verify: VerifyOption = False,
    shape: ShapeOption = None,
    as_json: Json = False,
) -> None:
    """Real sparsity, zero MACs, codings and bytes of a file, layer by layer, and why a layer is not packed.

    Of a run: sparsity asked for and reached, over prunable and all weights and by part, then its exported file.
    """
    from lth_deploy.workflow.artifact import find_artifact
    from lth_deploy.workflow.inspect.inspect import inspect_artifact
    from lth_deploy.workflow.inspect.text import facts, table

    out = sys.stderr if as_json else sys.stdout
    run = _accounting(artifact, as_json) if (artifact / "summary.json").is_file() else None
    if run is not None and not any((artifact / "export").glob("*.onnx")):
        print(f"not exported yet: lth-deploy export {artifact}", file=out)
        if as_json:
            print_json({"run": run})
        return
    result = inspect_artifact(find_artifact(artifact), shapes_of(shape or ()), run=run_model, verify=verify)
    header, *rows = table(result)
    print_table(header, rows, to_stderr=as_json)
    print(file=out)
    for label, text in facts(result):
        print(f"{label:28} {shown(text)}", file=out)
    if as_json:
        print_json(result.to_json() if run is None else {**result.to_json(), "run": run})


def _accounting(run: Path, as_json: bool) -> dict[str, Any]:
    from lth_deploy.workflow.inspect.run import accounting, accounting_json, inspect_run, part_rows

    summary = inspect_run(run)
    for header, *rows in (accounting(summary), part_rows(summary)):
        print_table(header, rows, to_stderr=as_json)
        print(file=sys.stderr if as_json else sys.stdout)
    return accounting_json(summary)
