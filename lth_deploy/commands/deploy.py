"""`lth-deploy export`, `benchmark`, `evaluate`, `predict` and `inspect`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lth_deploy.commands.options import DecoderOption, Json, ShapeOption, VerifyOption
from lth_deploy.commands.output import numbers_of, points, print_json, print_table, seconds_of, shapes_of, shown
from lth_deploy.errors import UsageError

if TYPE_CHECKING:
    from lth_deploy.target import Target
    from lth_deploy.workflow.export_folder import Signer


def export(
    run: Annotated[Path | None, typer.Argument(help="Run directory of find-ticket.")] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Any ONNX model instead of a run.")] = None,
    level: Annotated[str, typer.Option(help="best, a sparsity in per cent, or a trial's name.")] = "best",
    target: Annotated[str | None, typer.Option(help="Bundled target's name, or a YAML file.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="packed, dense or coo.")] = None,
    values: Annotated[str | None, typer.Option(help="fp32, fp16 or int8.")] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Images for --values int8, default those of the run's training; with --onnx also to prune on."
        ),
    ] = None,
    prefer: Annotated[str | None, typer.Option(help="Choose codings by size or load time.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Keep regions that are faster on this machine.")] = False,
    no_profile: Annotated[
        bool, typer.Option("--no-profile", help="Same input, same bytes: no times of this machine in the file.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default RUN/export.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="With --onnx: prune to this share of zeros.")] = None,
    one_shot: Annotated[
        str | None,
        typer.Option(help="With --sparsity: obs or magnitude.", show_default="obs with --calibrate, else magnitude"),
    ] = None,
    structure: Annotated[str, typer.Option(help="With --one-shot obs: single, in4, 2x4, out2 or N:M.")] = "single",
    images: Annotated[Path | None, typer.Option(help="With --onnx: images to check parity on.")] = None,
    data: Annotated[Path | None, typer.Option(help="With --onnx: COCO annotations, for the AP lost.")] = None,
    decoder: DecoderOption = None,
    max_ap_drop: Annotated[float | None, typer.Option(help="With --onnx: most AP points to lose.")] = None,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="With --onnx: keep inputs that have a default value.")
    ] = False,
    sign: Annotated[Path | None, typer.Option(help="Private Ed25519 key in PEM: sign the export's record.")] = None,
    shape: ShapeOption = None,
    as_json: Json = False,
) -> None:
    """Compile a ticket, or any ONNX model, into one packed ONNX file."""
    timed = {"tune": "true" if tune else None, "profile": "false" if no_profile else None}
    chosen = _target(target, {"format": format_, "values": values, "prefer": prefer} | timed)
    if (run is None) == (onnx is None):
        raise UsageError("export: give a run directory or --onnx FILE, one of the two")
    heading, signer = ["what", "file", "bytes", "x smaller", "AP"], _signer(sign)
    if onnx is not None:
        from lth_deploy.workflow.export_onnx import OnnxJob, export_onnx
        from lth_deploy.workflow.onnx_pruning import loss_rows

        drop = None if max_ap_drop is None else max_ap_drop / 100
        shapes = shapes_of(shape or ())
        job = OnnxJob(sparsity, (), images, decoder, data, drop, calibrate, one_shot, structure, keep_inputs, shapes)
        made = export_onnx(onnx, job, target=chosen, out=out, sign=signer)
        rows = [
            ["original", str(made.dense), f"{made.dense_bytes:,}", "1.00", points(made.dense_ap)],
            [
                "export",
                str(made.artifact),
                f"{made.bytes:,}",
                f"{made.dense_bytes / made.bytes:.2f}",
                points(made.ap),
            ],
        ]
        reasons = made.not_packed
        print(f"parity on {made.checked_on}: largest difference {made.deviation:.2g}", file=sys.stderr)
        if made.losses:
            header, *lines = loss_rows(made.losses)
            print_table(header, lines, to_stderr=as_json)
        plain = {"artifact": str(made.artifact), "dense": str(made.dense), "bytes": made.bytes, "ap": made.ap}
    else:
        if (
            structure != "single"
            or keep_inputs
            or any(x is not None for x in (sparsity, one_shot, images, data, decoder, max_ap_drop, shape))
        ):
            raise UsageError(
                "export RUN: --sparsity, --one-shot, --structure, --images, --data, --decoder, --max-ap-drop, "
                "--keep-inputs and --shape go with --onnx"
            )
        from lth_deploy.workflow.export import export as compile_run

        result = compile_run(run or Path(), level=level, target=chosen, out=out, calibrate=calibrate, sign=signer)
        plain = result.as_dict()
        sizes = [result.dense.stat().st_size, result.artifact.stat().st_size]
        gates = [result.dense_gate, result.gate]
        rows = [
            [
                name,
                str(path),
                f"{size:,}",
                f"{sizes[0] / size:.2f}",
                points(gate.file_ap["bbox"]["AP"]),
                str(gate.images),
            ]
            for name, path, size, gate in zip(
                ("dense", result.trial), (result.dense, result.artifact), sizes, gates, strict=True
            )
        ]
        heading.append("val images")  # a float artifact is scored on a part of them
        reasons = dict(result.gate.not_packed)
        print(f"parity on {result.gate.images} val images: {result.gate.parity.describe()}", file=sys.stderr)
    print_table(heading, rows, to_stderr=as_json)
    if reasons:
        from lth_deploy.compiler.reasons import in_words

        print(f"not packed: {in_words(reasons)}", file=sys.stderr)
    if as_json:
        print_json(plain)


def benchmark(
    artifacts: Annotated[list[Path], typer.Argument(help="ONNX files, or exported run directories.")],
    data: Annotated[Path, typer.Option(help="COCO annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    baseline: Annotated[Path | None, typer.Option(help="Dense ONNX file to compare with.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Engines, separated by commas.", show_default="onnxruntime, and lth_deploy where it was built"
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Add the dense model in static INT8 as a row.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Images to calibrate INT8 on; best not those of --images.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    time: Annotated[str, typer.Option(help="Time measured for each row, for instance 5s.")] = "5s",
    limit: Annotated[int | None, typer.Option(min=1, help="AP on the first so many images only.")] = None,
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
    from lth_deploy.workflow.benchmark import BenchmarkOptions
    from lth_deploy.workflow.benchmark import benchmark as measure

    options = BenchmarkOptions(
        engines=tuple(engine.split(",")) if engine is not None else None,
        threads=numbers_of(threads, "--threads"),
        seconds=seconds_of(time) or 0.0,
        int8=int8,
        calibration_folder=calibrate,
        images=limit,
        decoder=decoder,
        imports=tuple(imports or ()),
        command=("lth-deploy", *sys.argv[1:]),
        verify=verify,
    )
    results = measure(artifacts, data, images, baseline=baseline, options=options)
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
    from lth_deploy.workflow.evaluate import evaluate as score

    result = score(artifact, data, images, engine=engine, threads=threads, decoder=decoder, limit=limit, verify=verify)
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
    out: Annotated[Path, typer.Option(help="Folder for the pictures with detections.")],
    threshold: Annotated[float, typer.Option(help="Least score that is drawn.")] = 0.5,
    engine: Annotated[str, typer.Option(help="Engine that runs the file.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=0, help="0 leaves it to the engine.")] = 0,
    decoder: DecoderOption = None,
    verify: VerifyOption = False,
) -> None:
    """Draw boxes, masks and keypoints into pictures."""
    from lth_deploy.workflow.predict import predict as draw

    found = draw(
        artifact, images, out, threshold=threshold, engine=engine, threads=threads, decoder=decoder, verify=verify
    )
    print_table(
        ["picture", "objects"],
        [[str(one.picture), str(len(one.detections.above(threshold)))] for one in found],
    )


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
    from lth_deploy.workflow.inspect import inspect_artifact
    from lth_deploy.workflow.inspect_text import facts, table

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
    from lth_deploy.workflow.inspect_run import accounting, accounting_json, inspect_run, part_rows

    summary = inspect_run(run)
    for header, *rows in (accounting(summary), part_rows(summary)):
        print_table(header, rows, to_stderr=as_json)
        print(file=sys.stderr if as_json else sys.stdout)
    return accounting_json(summary)


def _signer(key: Path | None) -> "Signer | None":
    if key is None:
        return None
    from lth_deploy.workflow.signing import signer_of

    return signer_of(key)


def _target(name: str | None, flags: dict[str, str | None]) -> "Target":
    """A target file with the flags laid over it."""
    from lth_deploy import strict_yaml
    from lth_deploy.bundled import target_file
    from lth_deploy.target import Target
    from lth_deploy.validation import validate

    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    document = strict_yaml.Document("the command line", {}, {})
    if name is not None:
        document = strict_yaml.load(target_file(name))
    return validate(Target, document, given, option="--")
