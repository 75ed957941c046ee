"""`lth-deploy analyze`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.options import DecoderOption
from lth_deploy.commands.output import points, print_json, print_table

if TYPE_CHECKING:
    from lth_deploy.reporting.analysis.schema import RunAnalysis


def analyze(
    sources: Annotated[list[Path], typer.Argument(help="Run directories, ONNX files, or both.", metavar="RUN...")],
    out: Annotated[Path, typer.Option(help="Folder for page, figures and plots.")] = Path("analysis"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file too; - for stdout.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="test or val; test where there is one.", show_default=False)] = None,
    trial: Annotated[
        list[str] | None, typer.Option(help="Only this trial beside the control; may be given again.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many images only.")] = None,
    data: Annotated[Path | None, typer.Option(help="COCO annotations for ONNX files.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of their images.")] = None,
    engine: Annotated[str, typer.Option(help="Engine that runs ONNX files.")] = "onnxruntime",
    decoder: DecoderOption = None,
    samples: Annotated[int, typer.Option(min=10, help="Draws of the bootstrap over images.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Where tickets gain and lose beside their dense control: sizes, classes, errors, layers, masks, losses, costs."""
    from lth_deploy import storage
    from lth_deploy.workflow.analyze.analyze import document
    from lth_deploy.workflow.analyze.options import AnalyzeOptions
    from lth_deploy.workflow.limits.limited_verbs import limited_analyze

    options = AnalyzeOptions(
        split=split,
        trials=tuple(trial or ()),
        limit=limit,
        samples=samples,
        device=device,
        data=data,
        images=images,
        engine=engine,
        decoder=decoder,
        command=("lth-deploy", *sys.argv[1:]),
    )
    analysis = limited_analyze(sources, out, options)
    to_stdout = str(json_file) == "-"
    for run in analysis.runs:
        print_table(*_table(run), to_stderr=to_stdout)
        for note in run.notes:
            print(f"{run.name}: {note}", file=sys.stderr)
    for note in analysis.notes:
        print(note, file=sys.stderr)
    if to_stdout:
        print_json(document(analysis))
    elif json_file is not None:
        storage.write_json(json_file, document(analysis))


def _table(run: "RunAnalysis") -> tuple[list[str], list[list[str]]]:
    """What costs most AP50 in each trial, in short; the page has the rest."""
    headers = [f"{run.name}, {run.split}", "kind", "AP", "AP50", "worst error", "AP50 lost", "zeros %"]
    zeros = {trial.name: trial.sparsity_prunable for trial in run.trials}
    rows = []
    for kind in run.kinds:
        for row in kind.trials:
            types = row.errors.types if row.errors else {}
            worst = max(types, key=lambda name: types[name].ap50_gain or 0.0, default="-")
            rows.append(
                [
                    row.trial,
                    kind.kind,
                    points(row.metrics.get("AP")),
                    points(row.metrics.get("AP50")),
                    worst,
                    points(types[worst].ap50_gain if types else None),
                    points(zeros[row.trial]),
                ]
            )
    return headers, rows
