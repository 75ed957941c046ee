"""`lth-deploy export`, of a run and of any ONNX model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.options import DecoderOption, Json, ShapeOption, TargetOption
from lth_deploy.commands.output import points, print_json, print_table, shapes_of
from lth_deploy.errors import UsageError
from lth_deploy.structures import BLOCKS

if TYPE_CHECKING:
    from lth_deploy.config.target import Target
    from lth_deploy.workflow.export.folder import Signer


def export(
    run: Annotated[Path | None, typer.Argument(help="Run directory of find-ticket.")] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Any ONNX model instead of a run.")] = None,
    level: Annotated[str, typer.Option(help="best, a sparsity in per cent, or a trial's name.")] = "best",
    target: TargetOption = None,
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
    structure: Annotated[str, typer.Option(help=f"With --one-shot obs: {', '.join(BLOCKS)} or N:M.")] = "single",
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
        from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
        from lth_deploy.workflow.export.onnx_pruning import loss_rows

        job = OnnxJob(
            sparsity=sparsity,
            images=images,
            decoder=decoder,
            data=data,
            max_ap_drop=None if max_ap_drop is None else max_ap_drop / 100,
            calibrate=calibrate,
            one_shot=one_shot,
            structure=structure,
            keep_inputs=keep_inputs,
            shapes=shapes_of(shape or ()),
        )
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
        from lth_deploy.workflow.export.from_run import export as compile_run

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
        from lth_deploy.compiler.model.grouped_reasons import in_words

        print(f"not packed: {in_words(reasons)}", file=sys.stderr)
    if as_json:
        print_json(plain)


def _signer(key: Path | None) -> "Signer | None":
    if key is None:
        return None
    from lth_deploy.workflow.verify.signing import signer_of

    return signer_of(key)


def _target(name: str | None, flags: dict[str, str | None]) -> "Target":
    """A target file with the flags laid over it."""
    from lth_deploy.config import strict_yaml
    from lth_deploy.config.bundled import target_file
    from lth_deploy.config.target import Target
    from lth_deploy.config.validation import validate

    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    document = strict_yaml.Document("the command line", {}, {})
    if name is not None:
        document = strict_yaml.load(target_file(name))
    return validate(Target, document, given, option="--")
