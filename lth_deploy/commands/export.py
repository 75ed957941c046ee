"""`lth-deploy export`, of a run and of any ONNX model."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lth_deploy.commands.options import DecoderOption, Json, ShapeOption, TargetOption
from lth_deploy.commands.output import points, print_json, print_table, shapes_of
from lth_deploy.errors import UsageError
from lth_deploy.structures import BLOCKS

if TYPE_CHECKING:
    from lth_deploy.config.target import Target
    from lth_deploy.workflow.export.folder import Signer
    from lth_deploy.workflow.export.onnx_job import OnnxJob

HEADING = ("what", "file", "bytes", "x smaller", "AP")


@dataclass(frozen=True)
class TargetOptions:
    """A target by its name, and the flags laid over it; None leaves what the target says."""

    name: str | None
    format: str | None
    values: str | None
    prefer: str | None
    tune: bool
    no_profile: bool

    def target(self) -> "Target":
        """The target.

        Raises:
            RecipeError, UsageError: there is none of this name, or a flag has a value that it cannot have.
        """
        from lth_deploy.config import strict_yaml
        from lth_deploy.config.bundled import target_file
        from lth_deploy.config.target import Target
        from lth_deploy.config.validation import validate

        flags = {
            "format": self.format,
            "values": self.values,
            "prefer": self.prefer,
            "tune": "true" if self.tune else None,
            "profile": "false" if self.no_profile else None,
        }
        given = [f"{key}={value}" for key, value in flags.items() if value is not None]
        document = strict_yaml.Document("the command line", {}, {})
        if self.name is not None:
            document = strict_yaml.load(target_file(self.name))
        return validate(Target, document, given, option="--")


@dataclass(frozen=True)
class OnnxOptions:
    """The flags that go with --onnx alone, as they were typed."""

    sparsity: float | None = None
    one_shot: str | None = None
    structure: str = "single"
    images: Path | None = None
    data: Path | None = None
    decoder: str | None = None
    max_ap_drop: float | None = None
    keep_inputs: bool = False
    shape: tuple[str, ...] = ()

    def job(self, calibrate: Path | None) -> "OnnxJob":
        """The job that they mean.

        Raises:
            UsageError: it cannot work.
        """
        from lth_deploy.workflow.export.onnx_job import OnnxJob

        return OnnxJob(
            sparsity=self.sparsity,
            images=self.images,
            decoder=self.decoder,
            data=self.data,
            max_ap_drop=None if self.max_ap_drop is None else self.max_ap_drop / 100,
            calibrate=calibrate,
            one_shot=self.one_shot,
            structure=self.structure,
            keep_inputs=self.keep_inputs,
            shapes=shapes_of(self.shape),
        )


@dataclass(frozen=True)
class Destination:
    """Where an export goes, and the key that its record is signed with."""

    out: Path | None
    key: Path | None

    def signer(self) -> "Signer | None":
        """What signs; None without a key.

        Raises:
            UsageError, DataError: the key is none.
        """
        if self.key is None:
            return None
        from lth_deploy.workflow.verify.signing import signer_of

        return signer_of(self.key)


@dataclass(frozen=True)
class Outcome:
    """What is printed of an export: a table of its files, why layers are not packed, and its plain values for JSON.

    int8_macs: share of the multiplications in int8; None where there are none.
    """

    heading: tuple[str, ...]
    rows: list[list[str]]
    reasons: Mapping[str, int]
    plain: dict[str, Any]
    int8_macs: float | None


def export(
    run: Annotated[Path | None, typer.Argument(help="Run directory of find-ticket.")] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Any ONNX model instead of a run.")] = None,
    detectron2: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--detectron2", metavar="CONFIG WEIGHTS", help="Configuration (YAML) and checkpoint of detectron2."
        ),
    ] = None,
    level: Annotated[str, typer.Option(help="best, a sparsity in per cent, or a trial's name.")] = "best",
    target: TargetOption = None,
    format_: Annotated[str | None, typer.Option("--format", help="packed, dense or coo.")] = None,
    values: Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8.")] = None,
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
    max_ap_drop: Annotated[
        float | None,
        typer.Option(
            help="With --onnx: most AP points to lose; without --sparsity, finds the most zeros that keep it."
        ),
    ] = None,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="With --onnx: keep inputs that have a default value.")
    ] = False,
    sign: Annotated[Path | None, typer.Option(help="Private Ed25519 key in PEM: sign the export's record.")] = None,
    shape: ShapeOption = None,
    as_json: Json = False,
) -> None:
    """Compile a ticket, any ONNX model, or a detector of detectron2 into one packed ONNX file."""
    chosen = TargetOptions(target, format_, values, prefer, tune, no_profile).target()
    destination = Destination(out, sign)
    options = OnnxOptions(
        sparsity=sparsity,
        one_shot=one_shot,
        structure=structure,
        images=images,
        data=data,
        decoder=decoder,
        max_ap_drop=max_ap_drop,
        keep_inputs=keep_inputs,
        shape=tuple(shape or ()),
    )
    if sum(source is not None for source in (run, onnx, detectron2)) != 1:
        raise UsageError("export: give a run directory, --onnx FILE or --detectron2 CONFIG WEIGHTS, one of them")
    if onnx is not None or detectron2 is not None:
        outcome = _export_model(onnx or detectron2 or Path(), options.job(calibrate), chosen, destination, as_json)
    elif options != OnnxOptions():
        raise UsageError(
            "export RUN: --sparsity, --one-shot, --structure, --images, --data, --decoder, --max-ap-drop, "
            "--keep-inputs and --shape go with --onnx and --detectron2"
        )
    else:
        outcome = _export_run(run or Path(), level, chosen, destination, calibrate)
    print_table(outcome.heading, outcome.rows, to_stderr=as_json)
    if outcome.int8_macs is not None:
        print(f"in int8: {outcome.int8_macs:.1%} of the multiplications by weights", file=sys.stderr)
    if outcome.reasons:
        from lth_deploy.compiler.model.grouped_reasons import in_words

        print(f"not packed: {in_words(outcome.reasons)}", file=sys.stderr)
    if as_json:
        print_json(outcome.plain)


def _export_model(
    model: Path | tuple[Path, Path], job: "OnnxJob", target: "Target", to: Destination, as_json: bool
) -> Outcome:
    """Export an ONNX file, or the configuration and the checkpoint of detectron2."""
    from lth_deploy.workflow.export.detectron2.files import Detectron2Files
    from lth_deploy.workflow.export.detectron2.from_detectron2 import export_detectron2
    from lth_deploy.workflow.export.from_onnx import export_onnx
    from lth_deploy.workflow.export.onnx_export import loss_rows
    from lth_deploy.workflow.export.share_search.tries import try_rows

    if isinstance(model, Path):
        made = export_onnx(model, job, target=target, out=to.out, sign=to.signer())
    else:
        made = export_detectron2(Detectron2Files(*model), job, target=target, out=to.out, sign=to.signer())
    print(f"parity on {made.checked_on}: largest difference {made.deviation:.2g}", file=sys.stderr)
    if made.search is not None:
        header, *lines = try_rows(made.search.bounds, made.search.tries)
        print_table(header, lines, to_stderr=as_json)
        print(made.search.sentence(), file=sys.stderr)
    if made.agreement is not None:
        print(f"int8 on {made.agreement.images} calibration images: {made.agreement.describe()}", file=sys.stderr)
    if made.losses:
        header, *lines = loss_rows(made.losses)
        print_table(header, lines, to_stderr=as_json)
    files = (("original", made.dense, made.dense_bytes, made.dense_ap), ("export", made.artifact, made.bytes, made.ap))
    rows = [_row(name, file, size, made.dense_bytes, ap) for name, file, size, ap in files]
    plain = {"artifact": str(made.artifact), "dense": str(made.dense), "bytes": made.bytes, "ap": made.ap}
    plain["int8_macs"] = made.int8_macs
    plain["search"] = None if made.search is None else made.search.as_record()
    plain["twin"] = None if made.twin is None else made.twin.as_record()
    plain["agreement"] = None if made.agreement is None else made.agreement.as_record()
    return Outcome(HEADING, rows, made.not_packed, plain, made.int8_macs)


def _export_run(run: Path, level: str, target: "Target", to: Destination, calibrate: Path | None) -> Outcome:
    from lth_deploy.workflow.export.from_run import export as export_run

    made = export_run(run, level=level, target=target, out=to.out, calibrate=calibrate, sign=to.signer())
    print(f"parity on {made.gate.images} val images: {made.gate.parity.describe()}", file=sys.stderr)
    files = (
        ("dense", made.dense, made.dense_bytes, made.dense_gate),
        (made.trial, made.artifact, made.bytes, made.gate),
    )
    rows = [
        [*_row(name, file, size, made.dense_bytes, gate.file_ap["bbox"]["AP"]), str(gate.images)]
        for name, file, size, gate in files
    ]
    # A float artifact is scored on a part of the images.
    return Outcome((*HEADING, "val images"), rows, made.gate.not_packed, made.as_dict(), made.gate.int8_macs)


def _row(name: str, file: Path, size: int, dense: int, ap: float | None) -> list[str]:
    return [name, str(file), f"{size:,}", f"{dense / size:.2f}", points(ap)]
