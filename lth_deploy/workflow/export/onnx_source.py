"""An ONNX file of a user as the source of an export."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.half_weights import speaks_half
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, read_metadata, write_metadata
from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, with_changes
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.artifact.value_types import ValueType, round_values
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import ImportedModel, import_model
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.one_shot.magnitude import LayerLoss
from lth_deploy.config.target import Target
from lth_deploy.decoders import Decoder
from lth_deploy.decoders.model.class_names import category_ids
from lth_deploy.errors import ParityError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.measure.agreement import Agreement
from lth_deploy.run.directory import versions
from lth_deploy.workflow.decoding import DecoderChoice
from lth_deploy.workflow.evaluate import box_scores
from lth_deploy.workflow.export.dead_channels import without_dead_channels
from lth_deploy.workflow.export.int8_agreement import compared
from lth_deploy.workflow.export.onnx_accuracy import ApOf, check_classes, hold_ap
from lth_deploy.workflow.export.onnx_inputs import calibration_feeds, calibration_files, decoder_of, gate_inputs
from lth_deploy.workflow.export.onnx_job import OnnxJob
from lth_deploy.workflow.export.onnx_pruning import Pruner
from lth_deploy.workflow.export.share_search.tries import ShareSearch
from lth_deploy.workflow.export.source import Accuracy, Calibration, Trimmed, Written
from lth_deploy.workflow.gates.bf16_ap import hold_bf16_ap
from lth_deploy.workflow.gates.class_names import Named, hold_written_classes, named_classes
from lth_deploy.workflow.gates.original_model import hold_import, hold_original
from lth_deploy.workflow.gates.raw_outputs import hold_raw_outputs, tolerance_of
from lth_deploy.workflow.gates.regions import library_is_built

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """The user's file, the folder of the files to commit, and one for what only gates need."""

    source: Path
    staged: Path
    scratch: Path


@dataclass(frozen=True)
class OnnxSource:
    """A model from anywhere, imported and pruned.

    choice: its decoder, where one is known. losses: what reconstruction did to each layer. checked_on: what the inputs
    of the gate are, in words. ap: scores files. search: how the share of zeros was found, where the job names a bound
    only.
    """

    counts_in_float_order = False
    places: Places
    job: OnnxJob
    target: Target
    imported: ImportedModel
    model: NormalizedModel
    losses: Mapping[str, LayerLoss]
    choice: DecoderChoice | None
    inputs: Sequence[tuple[str, Feeds]]
    checked_on: str
    ap: ApOf
    search: ShareSearch | None = None

    @property
    def name(self) -> str:
        """The name of the user's file."""
        return self.places.source.name

    @property
    def decoder(self) -> Decoder | None:
        """What feeds images to the model, and reads its outputs."""
        return None if self.choice is None else self.choice.decoder

    @property
    def knows_ap(self) -> bool:
        """Whether there are annotations."""
        return self.job.data is not None

    @property
    def classes(self) -> Sequence[Named]:
        """The classes that the original names, or else its decoder."""
        return named_classes(self.imported.original, self.decoder)

    @property
    def metadata(self) -> ArtifactMetadata:
        """What the file says of itself, and the job; a decoder of the user's own is not named: names run no code."""
        original, job, target, choice = self.imported.original, self.job, self.target, self.choice
        base = read_metadata(original) or ArtifactMetadata()
        update: dict[str, Any] = {
            "values": target.values,
            "format": target.format,
            "target": target.name,
            "opset": standard_opset(original),
            "created_by": versions(),
        }
        update |= choice.record() if choice is not None else {}
        if not base.classes and choice is not None and choice.decoder.class_names:
            names = choice.decoder.class_names
            update["classes"] = [ClassName(id=n, name=name) for n, name in zip(category_ids(names), names, strict=True)]
        if job.sparsity:
            update["level"] = f"{job.method}_{100 * job.sparsity:g}"
        return with_changes(base, **update)

    def without_dead_channels(self) -> Trimmed:
        """The model without the channels that are zero on any input; with them where its outputs are others then.

        Sums of fewer terms are rounded otherwise, which can exchange equal boxes of a detector that sorts them itself.
        """
        smaller, removed = without_dead_channels(self.model, self.name)
        if not removed:
            return Trimmed(smaller, {})
        whole, file = self.places.scratch / "whole.onnx", self.places.scratch / "smaller.onnx"
        save_model(self.model.proto, whole)
        save_model(smaller.proto, file)
        try:
            hold_raw_outputs(whole, file, self.inputs, tolerance_of(self.model.proto, self.target.gates))
        except ParityError as error:
            log.warning("the channels that are always zero stay: without them, %s", error)
            return Trimmed(self.model, {})
        return Trimmed(smaller, removed)

    def calibration(self) -> Calibration:
        """Images of the job's folder, as the decoder wants them.

        Raises:
            DataError: the folder has no images.
        """
        return Calibration(calibration_feeds(self.job, self.decoder, self.target.calibration.images))

    def sparsity(self, layers: Sequence[LayerReport]) -> float:
        """Share of the prunable weights that are zero, or went with dead channels."""
        whole = sum(layer.elements for layer in weight_layers(self.model.proto))
        kept = sum(layer.elements - layer.zeros for layer in layers)
        return 1 - kept / whole if whole else 0.0

    def control(self, metadata: MetadataBuilder) -> Path:
        """Write the dense baseline with its metadata: the original, unpacked, with what import rewrote in it.

        So both files gain from it, and their ratio shows zeros alone. A model of half precision is the original.

        Raises:
            ParityError: it names other classes.
        """
        file = self.places.staged / "dense.onnx"
        imported = self.imported
        if imported.done and not speaks_half(imported.original):
            dense = imported.normalized.edited(lambda model: write_metadata(model, metadata.dense())).proto
        else:
            dense = unpack_model(imported.original)
            write_metadata(dense, metadata.dense())
        save_model(dense, file)
        hold_written_classes(file, self.name, self.classes)
        return file

    def hold_parity(self, written: Written) -> float:
        """Hold the artifact to the original with the same weights; an int8 one to the QDQ graph that it was made of.

        What rounding to int8 costs is judged by AP. Returns the largest relative deviation of an output.

        Raises:
            ParityError: it computes something else.
        """
        tolerance, scratch = tolerance_of(self.imported.original, self.target.gates), self.places.scratch
        if written.compiled.results.quantization is None:
            stored = round_values(self.model, self.target.float_values)
            return hold_original(self.imported, stored, written.file, self.inputs, scratch, tolerance)
        reference = scratch / "reference.onnx"
        save_model(round_values(written.compiled.stored, self.target.float_values).proto, reference)
        return hold_raw_outputs(reference, written.file, self.inputs, tolerance)

    def accuracy(self, written: Written, parity: float) -> Accuracy | None:
        """Box AP of the original and of the artifact on the job's data.

        Raises:
            GateError: more is lost than the job allows.
        """
        assert written.control is not None
        before, after = self.ap(written.control), self.ap(written.file)
        if before is None or after is None:
            return None
        hold_ap(before, after, self.job)
        self._hold_bf16(written, Accuracy(before, after))
        return Accuracy(before, after)

    def _hold_bf16(self, written: Written, accuracy: Accuracy) -> None:
        """Hold what the kernels of a bf16 file find to the AP of the float model.

        Raises:
            GateError: more is lost than the gates allow.
        """
        job = self.job
        if self.target.values != "bf16" or job.data is None or job.images is None or not library_is_built(written.file):
            return
        exact = self.float_scores(written, accuracy)
        kernels = box_scores(written.file, job.data, job.images, decoder=job.decoder, engine="lth_deploy")
        hold_bf16_ap(exact, kernels, self.target.gates.bf16_ap_drop)

    def agreement(self, written: Written) -> Agreement | None:
        """What an int8 artifact finds of what the original finds in the calibration images, where AP is not known.

        Raises:
            ArtifactError: the decoder cannot read what one of them returns.
        """
        if written.compiled.results.quantization is None or self.job.data is not None:
            return None
        assert written.control is not None
        images = calibration_files(self.job, self.target.calibration.images)
        return compared(written.control, written.file, images, self.job.decoder)

    def float_scores(self, written: Written, accuracy: Accuracy) -> Scores:
        """Box AP of the pruned model in float32; that of the original where nothing was pruned."""
        return (self.box_ap(self.model, "fp32") if self.job.sparsity else None) or accuracy.reference

    def box_ap(self, model: NormalizedModel, values: ValueType) -> Scores | None:
        """Box AP of a model with the decoder and the classes of this one, on the job's data."""
        file = self.places.scratch / "scored.onnx"
        scored = round_values(model, values).proto
        write_metadata(scored, self.metadata)
        save_model(scored, file)
        return self.ap(file)


def open_onnx(original: ModelProto, job: OnnxJob, target: Target, places: Places) -> OnnxSource:
    """The source that a loaded model is: imported, held to the original, and pruned to the share that the job says.

    Raises:
        ArtifactError: the model is damaged or does not run. UsageError: no decoder fits. DataError: faulty data.
        ParityError: importing changes what the model computes.
    """
    choice = decoder_of(places.source, job, original)
    decoder = None if choice is None else choice.decoder
    check_classes(original, decoder, job)
    imported = import_model(original, keep_inputs=job.keep_inputs)
    inputs, checked_on = gate_inputs(original, job, decoder, target.gates.images)
    imported = hold_import(imported, inputs, places.source.name, places.scratch, tolerance_of(original, target.gates))
    model, losses = Pruner(imported.normalized, job, decoder).pruned(job.sparsity)
    return OnnxSource(places, job, target, imported, model, losses, choice, inputs, checked_on, ApOf(job))
