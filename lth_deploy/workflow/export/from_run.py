"""`export`: a trial of a run, compiled into one ONNX file, with its dense control beside it."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.errors import DataError, GateError, ParityError, UsageError
from lth_deploy.pruning.search.plan import control_of, level_name
from lth_deploy.run.directory import RunDirectory, Trial, versions
from lth_deploy.run.summary import load_run
from lth_deploy.workflow.export.dead_channels import without_dead_channels
from lth_deploy.workflow.export.folder import Signer, export_folder
from lth_deploy.workflow.export.quantization import hold_quantized_ap, quantize, spread
from lth_deploy.workflow.export.tune_regions import emit_chosen
from lth_deploy.workflow.gates.class_names import hold_trained_classes, hold_written_classes
from lth_deploy.workflow.gates.detections import GateResult, hold_detections, hold_folding, hold_quantized_detections
from lth_deploy.workflow.gates.regions import hold_regions
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.trained_model import learned_grids, trained_model

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from lth_deploy.data.records import CocoDataset

logger = logging.getLogger(__name__)

PREPROCESSING = {
    "input": "image, uint8 [height, width, 3], RGB, any size",
    "resize": "inside the graph",
    "outputs": "boxes x1 y1 x2 y2 in pixels of the image, scores, labels from 1",
}
KERNEL_IMAGES = 4
"""Images on which regions are compared value by value, with kernels and without."""

RELATIVE_ROUNDING, ABSOLUTE_ROUNDING = 2.0**-11, 2.0**-25
"""The most that rounding to fp16 changes a weight: half a unit in the last place, normal or subnormal."""


@dataclass(frozen=True)
class ExportResult:
    """The files written: the artifact and the dense control, with what the gate saw on each."""

    trial: str
    artifact: Path
    dense: Path
    gate: GateResult
    dense_gate: GateResult
    bytes: int
    dense_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trial": self.trial,
            "artifact": {"path": str(self.artifact), "bytes": self.bytes},
            "dense": {"path": str(self.dense), "bytes": self.dense_bytes},
            "parity": self.gate.parity.describe(),
            "images": self.gate.images,
            "torch_ap": self.gate.torch_ap,
            "artifact_ap": self.gate.file_ap,
            "dense_ap": self.dense_gate.file_ap,
            "unreached_regions": list(self.gate.unreached),
            "not_packed": dict(self.gate.not_packed),
        }


def export(
    run: Path,
    *,
    level: str = "best",
    target: Target | None = None,
    out: Path | None = None,
    calibrate: Path | None = None,
    sign: Signer | None = None,
) -> ExportResult:
    """Compile a ticket of the run directory `run` into `out` (default RUN/export).

    Args:
        run: a run directory.
        level: best (the winning ticket, fine-tuned if the run did that and int8 is written), a sparsity in per cent,
            or the name of a trial.
        target: what to write; default packed fp16 for ONNX Runtime.
        out: folder for model.onnx and dense.onnx. Files appear there in one step, after every gate was passed.
        calibrate: folder of images for `values: int8`; default the images that the run was trained on.
        sign: makes the signature of the record, see `signing`.

    Raises:
        DataError: no run, or damaged files in it.
        UsageError: the run has no such level, or is of a classifier.
        GateError: `best` is asked for and no level won, or quantization costs more AP than the target allows.
        ParityError: the file does not compute what the trained model computes, or names other classes.
    """
    directory = RunDirectory.open(run)
    require_torch("exporting a run")
    from lth_deploy.workflow.search.splits import load_splits

    recipe, target = directory.recipe(), target or Target()
    if calibrate is not None and target.values != "int8":
        raise UsageError("export: --calibrate goes with --values int8")
    if recipe.detector.name == "classifier":
        raise UsageError(
            f"{run} holds tickets of a classifier, which serve detectors as 'source.run' of a recipe; export takes "
            "runs of detectors"
        )
    trial = choose_trial(directory, level, int8=target.values == "int8")
    control = directory.trial(control_of(recipe))
    splits = load_splits(recipe, run)
    hold_trained_classes(directory, splits["train"])
    out = out or run / "export"
    with export_folder(out, 4 * trial.weights.stat().st_size) as folder:
        dense = folder.staged / "dense.onnx"
        dense_gate = _compile(recipe, control, splits["val"], _dense_target(target), dense, None, [])
        file = folder.staged / ("model.onnx" if target.format == "packed" else f"model-{target.format}.onnx")
        ranges = calibration_files(calibrate, splits["train"], target) if target.values == "int8" else []
        gate = _compile(recipe, trial, splits["val"], target, file, storage.sha256(dense), ranges)
        sizes = (file.stat().st_size, dense.stat().st_size)
        result = ExportResult(trial.name, out / file.name, out / dense.name, gate, dense_gate, *sizes)
        folder.commit([dense, file], result.as_dict(), sign)
    return result


def _dense_target(target: Target) -> Target:
    """The dense control in plain ONNX, held to the same gates."""
    return Target(name="dense control", format="dense", values="fp32", opset=target.opset, gates=target.gates)


def choose_trial(run: RunDirectory, level: str, *, int8: bool = False) -> Trial:
    """The trial that `--level` means, the fine-tuned winner where `int8`; see `export` for what is raised."""
    finished = [trial.name for trial in run.finished_trials()]
    if level == "best":
        run.verify_summary()
        winner = load_run(run.summary)[0].winner if run.summary.exists() else None
        if winner is None:
            raise GateError(
                f"{run.path} has no winning ticket: no finished level is within the tolerance of the dense control; "
                f"name one with --level ({', '.join(finished) or 'none is finished'})"
            )
        level = winner.trial
        if int8 and f"{level}_int8" in finished:
            level = f"{level}_int8"
    name = level if level in finished else f"level_{level.removesuffix('%')}"
    if name not in finished:
        with contextlib.suppress(ValueError):
            name = level_name("level", float(level) if float(level) < 1 else float(level) / 100)
    if name not in finished:
        raise UsageError(f"{run.path} has no finished level '{level}'; finished: {', '.join(finished)}")
    return run.trial(name)


def stored_reference(model: "nn.Module", graph: "onnx.ModelProto") -> "nn.Module":
    """`model` with the weights that `graph` stores: what the artifact has to reproduce, rounding included.

    Raises:
        ParityError: a stored weight is no rounding of the trained one, so that the graph must not vouch for it.
    """
    import torch
    from onnx import numpy_helper

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for tensor in graph.graph.initializer:
            if tensor.name in parameters:
                parameter = parameters[tensor.name]
                stored = torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(parameter.dtype)
                if stored.shape != parameter.shape or not torch.allclose(
                    stored, parameter, rtol=RELATIVE_ROUNDING, atol=ABSOLUTE_ROUNDING
                ):
                    raise ParityError(
                        f"'{tensor.name}' holds other weights in the exported graph than in the trained model; "
                        "nothing was exported"
                    )
                parameter.copy_(stored)
    return model


def calibration_files(folder: Path | None, trained_on: "CocoDataset", target: Target) -> list[Path]:
    """Images to take ranges from: of a folder, or of the data that the run was trained on.

    Raises:
        DataError: the folder has no images.
    """
    from lth_deploy.data.images import image_files

    files = [record.path for record in trained_on.images] if folder is None else image_files(folder)
    return spread(files, target.calibration.images)


def _compile(
    recipe: Recipe,
    trial: Trial,
    dataset: "CocoDataset",
    target: Target,
    file: Path,
    control: str | None,
    ranges: list[Path],
) -> GateResult:
    """Write `trial` as `target` says to `file`, and hold it against the torch model; ranges: calibration images."""
    from lth_deploy.compiler.artifact.metadata import write_metadata
    from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, PassResults
    from lth_deploy.compiler.artifact.value_types import round_values
    from lth_deploy.compiler.importing.imported import normalize
    from lth_deploy.compiler.model.grouped_reasons import not_packed
    from lth_deploy.compiler.model.save import save_model
    from lth_deploy.compiler.planning.mac_count import uses
    from lth_deploy.data.images import read_image
    from lth_deploy.detectors.fold_norm import fold_norm

    trained = trained_model(recipe, trial, dataset)
    folded = fold_norm(trained)
    for name, reason in folded.kept:
        logger.warning("%s: the norm '%s' stays in the graph and costs time: %s", trial.name, name, reason)
    # The gate's reference is folded too, since rounded weights exist nowhere else; so folding has a gate of its own.
    hold_folding(trained, folded.module, dataset)
    whole = normalize(_captured(folded.module, dataset, target))
    filters = recipe.pruning.structure == "filter"
    graph, removed = without_dead_channels(whole, trial.name) if filters else (whole, {})
    account = None
    if ranges:
        calibration = [{"image": read_image(path)} for path in ranges]
        account = quantize(graph, calibration, target, learned_grids(trial))
    metadata = _metadata(recipe, trial, dataset, target, control)
    feeds = next(_feeds(dataset))[1]
    used = uses(graph, feeds)
    chosen = emit_chosen(account.graph if account else graph, target, used, feeds)
    results = PassResults(
        layers=chosen.layers,
        positions=used.positions,
        input_shapes=used.sizes,
        measured=chosen.measured,
        unpredicted_ms=chosen.unpredicted_ms,
        quantization=account.quantization if account else None,
        removed_channels=removed,
    )
    write_metadata(chosen.model, MetadataBuilder(metadata, results).artifact())
    size = save_model(chosen.model, file)
    hold_written_classes(file, "the run", [(category.id, category.name) for category in dataset.categories])
    if account is not None:
        # A trial that was trained as INT8 computes is held as such, and must keep the AP of the float ticket besides.
        quantized = trained_model(recipe, trial, dataset, rounding=True)
        gate = hold_quantized_detections(file, quantized, dataset, recipe, target.gates, account.quantization)
        hold_quantized_ap(_float_ap(trial, gate), gate.file_ap, target.gates.int8_ap_drop, account.quantization)
    else:
        reference = stored_reference(folded.module, round_values(whole, target.float_values).proto)
        gate = hold_detections(file, reference, dataset, recipe, target.gates)
    check = hold_regions(file, _feeds(dataset), target.gates)
    logger.info("%s as %s: %.2f MB, %s", trial.name, target.format, size / 1e6, gate.parity.describe())
    reasons = not_packed(chosen.layers)
    return replace(gate, unreached=() if check is None else check.unreached, not_packed=reasons)


def _float_ap(trial: Trial, gate: GateResult) -> Mapping[str, Any]:
    """AP on val of the float ticket that a quantized trial began from; of other trials that of the trial itself."""
    result = trial.read_result()
    if result.kind != "int8":
        return gate.torch_ap
    ap = trial.run.trial(result.parent).read_result().val if result.parent else None
    if ap is None:
        raise DataError(f"{trial.result} names no float ticket whose AP on val is known; restore the file")
    return ap


def _feeds(dataset: "CocoDataset") -> Iterator[tuple[str, Feeds]]:
    from lth_deploy.data.images import read_record

    for record in dataset.images[:KERNEL_IMAGES]:
        yield record.file_name, {"image": read_record(record)}


def _captured(model: "nn.Module", dataset: "CocoDataset", target: Target) -> "onnx.ModelProto":
    from lth_deploy.compiler.model.capture import capture
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.exportable import ExportableDetector

    return capture(ExportableDetector(model), read_record(dataset.images[0]), target.opset)


def _metadata(
    recipe: Recipe,
    trial: Trial,
    dataset: "CocoDataset",
    target: Target,
    control: str | None,
) -> Any:
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName

    return ArtifactMetadata(
        decoder="lth",
        classes=[ClassName(id=category.id, name=category.name) for category in dataset.categories],
        keypoints=list(dataset.keypoint_names),
        preprocessing=dict(PREPROCESSING),
        recipe_digest=recipe.digest(),
        level=trial.name,
        sparsity=trial.read_result().sparsity_prunable,
        values=target.values,
        format=target.format,
        target=target.name,
        created_by=versions(),
        opset=target.opset,
        control_sha256=control,
    )
