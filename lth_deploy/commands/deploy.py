"""`lth-deploy benchmark`, `evaluate`, `predict` and `inspect`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lth_deploy.commands.options import DecoderOption, Json, ShapeOption, VerifyOption
from lth_deploy.commands.output import numbers_of, points, print_json, print_table, seconds_of, shapes_of, shown


def benchmark(
    artifacts: Annotated[list[Path], typer.Argument(help="ONNX files, or exported run directories.")],
    data: Annotated[Path, typer.Option(help="COCO annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    baseline: Annotated[Path | None, typer.Option(help="Dense ONNX file to compare with.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Engines, separated by commas.",
            show_default="onnxruntime, lth_deploy where it was built, and installed peers on the dense model",
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Add the dense model in static INT8 as a row.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Images to calibrate INT8 on; best not those of --images.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    time: Annotated[str, typer.Option(help="Time measured for each row, for instance 5s.")] = "5s",
    limit: Annotated[int | None, typer.Option(min=1, help="AP on the first so many images only.")] = None,
    shape: ShapeOption = None,
    decoder: DecoderOption = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Add the rows of another benchmark's JSON, or of lth_consumer --bench."),
    ] = None,
    verify: VerifyOption = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every sample to this file; - for stdout.")
    ] = None,
) -> None:
    """Measure size, load time, latency, memory and AP beside the dense baseline."""
    from lth_deploy import storage
    from lth_deploy.measure.table import table_notes, table_rows
    from lth_deploy.workflow.benchmark.options import BenchmarkOptions
    from lth_deploy.workflow.limits.limited_verbs import limited_benchmark

    options = BenchmarkOptions(
        engines=tuple(engine.split(",")) if engine is not None else None,
        threads=numbers_of(threads, "--threads"),
        seconds=seconds_of(time) or 0.0,
        int8=int8,
        calibration_folder=calibrate,
        images=limit,
        shapes=shapes_of(shape or ()) or None,
        decoder=decoder,
        imports=tuple(imports or ()),
        command=("lth-deploy", *sys.argv[1:]),
        verify=verify,
    )
    results = limited_benchmark(artifacts, data, images, baseline=baseline, options=options)
    to_stdout = str(json_file) == "-"
    header, *rows = table_rows(results)
    print_table(header, rows, to_stderr=to_stdout)
    for note in table_notes(results):
        print(note, file=sys.stderr)
    if to_stdout:
        print_json(results.to_data())
    elif json_file is not None:
        storage.write_json(json_file, results.to_data())


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="ONNX file, or exported run directory.")],
    data: Annotated[Path, typer.Option(help="COCO annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    engine: Annotated[str, typer.Option(help="Engine that runs the file.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=0, help="0 leaves it to the engine.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many images only.")] = None,
    decoder: DecoderOption = None,
    verify: VerifyOption = False,
    by_class: Annotated[bool, typer.Option("--by-class", help="Add VOC's AP of boxes for each class.")] = False,
    as_json: Json = False,
) -> None:
    """AP of an ONNX file, with pycocotools' metrics and, of boxes, VOC's: 11 points (VOC07) and area (VOC10)."""
    from lth_deploy.workflow.limits.limited_verbs import limited_evaluate

    result = limited_evaluate(
        artifact, data, images, engine=engine, threads=threads, decoder=decoder, limit=limit, verify=verify
    )
    kinds, classes = result.ap.metrics, result.ap.voc.classes if result.ap.voc else ()
    names = list(next(iter(kinds.values())))
    rows = [[kind, *(points(metrics.get(name)) for name in names)] for kind, metrics in kinds.items()]
    print_table(["kind", *names], rows, to_stderr=as_json)
    if by_class:
        lines = [[one.name, str(one.objects), points(one.eleven_points), points(one.area)] for one in classes]
        print_table(["class", "objects", "VOC07", "VOC10"], lines, to_stderr=as_json)
    for note in result.ap.notes:
        print(note, file=sys.stderr)
    if as_json:
        print_json(
            {
                "artifact": str(result.artifact),
                "engine": result.engine,
                "ap": kinds,
                "voc_by_class": {
                    one.name: {"objects": one.objects, "VOC07": one.eleven_points, "VOC10": one.area} for one in classes
                },
                "seconds": result.seconds,
            }
        )


def predict(
    artifact: Annotated[Path, typer.Argument(help="ONNX file, or exported run directory.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for the images with detections.")],
    threshold: Annotated[float, typer.Option(help="Least score that is drawn.")] = 0.5,
    engine: Annotated[str, typer.Option(help="Engine that runs the file.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=0, help="0 leaves it to the engine.")] = 0,
    decoder: DecoderOption = None,
    verify: VerifyOption = False,
) -> None:
    """Draw boxes, masks and keypoints into pictures."""
    from lth_deploy.workflow.limits.limited_verbs import limited_predict

    found = limited_predict(
        artifact, images, out, threshold=threshold, engine=engine, threads=threads, decoder=decoder, verify=verify
    )
    print_table(["picture", "objects"], [[str(picture), str(objects)] for picture, objects in found])


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
