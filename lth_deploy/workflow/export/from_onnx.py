"""The verb `export --onnx`: prune and pack any ONNX model, without the code or data that trained it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.config.target import Target
from lth_deploy.errors import DataError, ParityError, UsageError
from lth_deploy.run.directory import versions
from lth_deploy.workflow.export.commit import RECORD
from lth_deploy.workflow.export.dead_channels import without_dead_channels
from lth_deploy.workflow.export.folder import Signer, export_folder
from lth_deploy.workflow.export.onnx_accuracy import ap_of, check_classes, hold_ap
from lth_deploy.workflow.export.onnx_export import OnnxExport
from lth_deploy.workflow.export.onnx_inputs import calibration_feeds, decoder_of, gate_inputs
from lth_deploy.workflow.export.onnx_job import OnnxJob
from lth_deploy.workflow.export.onnx_pruning import check_pruning, method_of, pruned
from lth_deploy.workflow.export.quantization import QuantizedGraph, hold_quantized_ap, quantize
from lth_deploy.workflow.export.tune_regions import emit_chosen
from lth_deploy.workflow.gates.class_names import hold_kept_classes
from lth_deploy.workflow.gates.original_model import hold_import, hold_original
from lth_deploy.workflow.gates.raw_outputs import hold_raw_outputs, tolerance_of
from lth_deploy.workflow.gates.regions import hold_regions
from lth_deploy.workflow.limits.limited_process import run_limited

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
    from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder
    from lth_deploy.compiler.model.normalized_model import NormalizedModel
    from lth_deploy.decoders import Decoder
    from lth_deploy.workflow.decoding import DecoderChoice

__all__ = ["OnnxExport", "OnnxJob", "export_onnx"]

log = logging.getLogger(__name__)


def export_onnx(
    path: Path,
    job: OnnxJob | None = None,
    *,
    target: Target | None = None,
    out: Path | None = None,
    sign: Signer | None = None,
) -> OnnxExport:
    """Prune and pack the ONNX file `path` into the folder `out` (default: beside it, NAME-export).

    Nothing is written unless the packed file computes what the file as it was given does with the same pruned weights;
    for int8, what a dense graph with them does. Then all of it is written in one step.
    The AP lost against the original is reported, and held to a bound only where the job names one.
    sign: makes the signature of the record, see `signing`.

    Raises:
        ArtifactError: the model is damaged. UsageError: a job that cannot work. ParityError: see above.
        GateError: more AP was lost than allowed. UnexpectedGraphError: the graph is beyond what this program handles.
    """
    job, target = job or OnnxJob(), target or Target()
    _check_job(job, target)
    out = out if out is not None else path.parent / f"{path.stem}-export"
    arguments = {
        "path": str(path),
        "job": TypeAdapter(OnnxJob).dump_python(job, mode="json"),
        "target": target.model_dump(mode="json"),
    }
    with export_folder(out, 3 * _size(path)) as folder:
        record = run_limited(_exported, {**arguments, "staged": str(folder.staged)}, f"exporting {path.name}")
        files = [folder.staged / record["dense"], folder.staged / record["artifact"]]
        folder.commit(files, {"target": target.model_dump(mode="json"), **record}, sign)
    return OnnxExport.from_record(record, out)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', error)}; give the path of an .onnx file"
        ) from error


def _exported(path: str, job: object, target: object, staged: str) -> dict[str, Any]:
    """Write and gate an export in the folder `staged`, and return its record: a task for a process with limits."""
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.importing.frozen_sizes import with_sizes
    from lth_deploy.compiler.model.unexpected_faults import graph_errors

    source = Path(path)
    original = load_model(source)
    with graph_errors(source.name), storage.scratch("export") as scratch:
        places = _Places(source, Path(staged), scratch)
        options = TypeAdapter(OnnxJob).validate_python(job)
        sized = with_sizes(original, options.shapes)
        return _export(sized, options, Target.model_validate(target), places).as_record()


@dataclass(frozen=True)
class _Places:
    source: Path
    staged: Path
    scratch: Path


def _export(original: "ModelProto", job: OnnxJob, target: Target, places: _Places) -> OnnxExport:
    from lth_deploy.compiler.artifact.metadata import write_metadata
    from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, PassResults
    from lth_deploy.compiler.artifact.value_types import round_values
    from lth_deploy.compiler.artifact.weight_layers import weight_layers
    from lth_deploy.compiler.importing.imported import import_model
    from lth_deploy.compiler.model.save import save_model
    from lth_deploy.compiler.planning.mac_count import uses

    known = decoder_of(places.source, job, original)
    decoder = None if known is None else known.decoder
    check_classes(original, decoder, job)
    imported = import_model(original, keep_inputs=job.keep_inputs)
    inputs, checked_on = gate_inputs(original, job, decoder, target.gates.images)
    tolerance = tolerance_of(original, target.gates)
    imported = hold_import(imported, inputs, places.source.name, places.scratch, tolerance)
    ticket, losses = pruned(imported.normalized, job, decoder)
    whole = sum(layer.elements for layer in weight_layers(ticket.proto))
    smaller, removed = _without_dead_channels(ticket, inputs, target, places)
    account = _quantized(smaller, job, target, decoder)
    model = account.graph if account else smaller
    used = uses(model, inputs[0][1])
    chosen = emit_chosen(model, target, used, inputs[0][1])
    candidate, layers = chosen.model, chosen.layers
    results = PassResults(
        layers=layers,
        positions=used.positions,
        input_shapes=used.sizes,
        measured=chosen.measured,
        unpredicted_ms=chosen.unpredicted_ms,
        quantization=account.quantization if account else None,
        removed_channels=removed,
    )
    described = _metadata(original, job, target, known)
    metadata = MetadataBuilder(described, results)
    kept = sum(layer.elements - layer.zeros for layer in layers)
    sparsity = 1 - kept / whole if whole else 0.0
    dense, file = _save_described(original, candidate, metadata, sparsity, places.staged)
    hold_kept_classes([dense, file], original, decoder, places.source.name)
    reference = places.scratch / "reference.onnx"
    if account is None:
        stored = round_values(ticket, target.float_values)
        deviation = hold_original(imported, stored, file, inputs, places.scratch, tolerance)
    else:
        # What rounding to int8 costs is judged by AP; the file is held to the QDQ graph that it was made of.
        save_model(round_values(model, target.float_values).proto, reference)
        deviation = hold_raw_outputs(reference, file, inputs, tolerance)
    check = hold_regions(file, inputs, target.gates)
    dense_ap, ap = ap_of(dense, job), ap_of(file, job)
    hold_ap(dense_ap, ap, job)
    if account is not None and job.data is not None:
        pruned_float = round_values(ticket, "fp32").proto
        write_metadata(pruned_float, described)
        save_model(pruned_float, reference)
        before = dense_ap if job.sparsity is None else ap_of(reference, job)
        hold_quantized_ap(
            {"bbox": {"AP": before}}, {"bbox": {"AP": ap}}, target.gates.int8_ap_drop, account.quantization
        )
    return OnnxExport(
        artifact=file,
        dense=dense,
        report=places.staged / RECORD,
        bytes=file.stat().st_size,
        dense_bytes=dense.stat().st_size,
        sparsity=sparsity,
        deviation=deviation,
        kernel_deviation=None if check is None else check.deviation,
        unreached_regions=() if check is None else check.unreached,
        checked_on=checked_on,
        ap=ap,
        dense_ap=dense_ap,
        layers=tuple(layers),
        losses=losses,
    )


def _without_dead_channels(
    ticket: "NormalizedModel", inputs: Sequence[tuple[str, Feeds]], target: Target, places: _Places
) -> "tuple[NormalizedModel, dict[str, tuple[int, int]]]":
    """The model without the channels that are zero on any input; with them where its outputs are others then.

    Sums of fewer terms are rounded otherwise, which can exchange equal boxes of a detector that sorts them itself.
    """
    from lth_deploy.compiler.model.save import save_model

    smaller, removed = without_dead_channels(ticket, places.source.name)
    if removed:
        whole, file = places.scratch / "whole.onnx", places.scratch / "smaller.onnx"
        save_model(ticket.proto, whole)
        save_model(smaller.proto, file)
        try:
            hold_raw_outputs(whole, file, inputs, tolerance_of(ticket.proto, target.gates))
        except ParityError as error:
            log.warning("the channels that are always zero stay: without them, %s", error)
            return ticket, {}
    return smaller, removed


def _quantized(
    ticket: "NormalizedModel", job: OnnxJob, target: Target, decoder: "Decoder | None"
) -> QuantizedGraph | None:
    if target.values != "int8" or job.calibrate is None:
        return None
    return quantize(ticket, calibration_feeds(job, decoder, target.calibration.images), target)


def _save_described(
    original: "ModelProto",
    candidate: "ModelProto",
    metadata: "MetadataBuilder",
    sparsity: float,
    folder: Path,
) -> tuple[Path, Path]:
    """Write the dense original and the artifact with their metadata, and return both paths.

    sparsity: share of zeros of the artifact.
    """
    from lth_deploy.compiler.artifact.metadata import write_metadata
    from lth_deploy.compiler.importing.unpacked import unpack_model
    from lth_deploy.compiler.model.save import save_model

    dense_file, file = folder / "dense.onnx", folder / "model.onnx"
    dense = unpack_model(original)
    write_metadata(dense, metadata.dense())
    save_model(dense, dense_file)
    write_metadata(candidate, metadata.artifact(sparsity=sparsity, control_sha256=storage.sha256(dense_file)))
    save_model(candidate, file)
    return dense_file, file


def _check_job(job: OnnxJob, target: Target) -> None:
    check_pruning(job, target)
    if job.shapes and job.images is not None:
        raise UsageError("--shape gives the sizes of noise; with --images the images have sizes, so leave --shape out")
    if job.data is not None and job.images is None:
        raise UsageError("--data needs the folder of its images; give --images DIR")
    if job.max_ap_drop is not None and job.data is None:
        raise UsageError("--max-ap-drop needs annotations to measure AP on; give --data ANN.json --images DIR")


def _metadata(
    original: "ModelProto", job: OnnxJob, target: Target, known: "DecoderChoice | None"
) -> "ArtifactMetadata":
    """What the artifact says; a decoder of the user's own is not named, as names must not run code."""
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, read_metadata
    from lth_deploy.compiler.artifact.metadata_builder import with_changes
    from lth_deploy.compiler.model.opset import standard_opset
    from lth_deploy.decoders.model.class_names import category_ids

    base = read_metadata(original) or ArtifactMetadata()
    update: dict[str, Any] = {
        "values": target.values,
        "format": target.format,
        "target": target.name,
        "opset": standard_opset(original),
        "created_by": versions(),
    }
    update |= known.record() if known is not None else {}
    if not base.classes and known is not None and known.decoder.class_names:
        names = known.decoder.class_names
        update["classes"] = [ClassName(id=n, name=name) for n, name in zip(category_ids(names), names, strict=True)]
    if job.sparsity is not None:
        update["level"] = f"{method_of(job)}_{100 * job.sparsity:g}"
    return with_changes(base, **update)
