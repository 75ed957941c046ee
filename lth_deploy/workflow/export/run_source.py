"""A finished trial of a run as the source of an export."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName
from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.artifact.value_types import round_values
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model import capture
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.data.images import image_files, read_image, read_record
from lth_deploy.data.records import CocoDataset
from lth_deploy.decoders import Decoder, fit_recorded
from lth_deploy.detectors.exportable import ExportForm
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.sources import source_of
from lth_deploy.detectors.sources.source import deployed_form
from lth_deploy.errors import DataError, ParityError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.run.directory import RunDirectory, Trial, versions
from lth_deploy.workflow.decoding import signature_of
from lth_deploy.workflow.export.dead_channels import without_dead_channels
from lth_deploy.workflow.export.quantization import spread
from lth_deploy.workflow.export.source import Accuracy, Calibration, Trimmed, Written
from lth_deploy.workflow.gates.class_names import Named, hold_trained_classes
from lth_deploy.workflow.gates.deployed import hold_deployed
from lth_deploy.workflow.gates.detections import (
    GateResult,
    compare_detections_of,
    hold_bf16_detections,
    hold_detections,
)
from lth_deploy.workflow.gates.folding import hold_folding
from lth_deploy.workflow.gates.quantized_ap import hold_quantized_ap
from lth_deploy.workflow.search.splits import load_splits
from lth_deploy.workflow.search.trained_model import learned_grids, trained_model

log = logging.getLogger(__name__)

KERNEL_IMAGES = 4
"""Images on which regions are compared value by value, with kernels and without."""

RELATIVE_ROUNDING, ABSOLUTE_ROUNDING, BF16_ROUNDING = 2.0**-11, 2.0**-25, 2.0**-9
"""The most that rounding to fp16, or to bf16, changes a weight: half a unit in the last place, normal or subnormal."""


@dataclass(frozen=True)
class Searched:
    """What the trials of one run have in common. val: the images that gates compare on."""

    recipe: Recipe
    train: CocoDataset
    val: CocoDataset


@dataclass(frozen=True)
class TrialSource:
    """A trained detector with folded norms, and its normalized graph.

    module: computes what `model` does. form, decoder: how it was traced, and is fed. dense: the dense control of the
    artifact; None for the control itself. calibrate: folder of images for int8; None for those of the training. names:
    see `Deployed`.
    """

    name = "the run"
    counts_in_float_order = True
    knows_ap = True
    searched: Searched
    trial: Trial
    target: Target
    module: nn.Module
    form: ExportForm
    decoder: Decoder
    model: NormalizedModel
    inputs: Sequence[tuple[str, Feeds]]
    dense: Path | None = None
    calibrate: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> Sequence[Named]:
        """The categories of the data set."""
        return [(category.id, category.name) for category in self.searched.val.categories]

    @property
    def metadata(self) -> ArtifactMetadata:
        """What the recipe, the trial and the target say."""
        target, recipe, val = self.target, self.searched.recipe, self.searched.val
        return ArtifactMetadata(
            decoder=self.form.decoder,
            classes=[ClassName(id=category.id, name=category.name) for category in val.categories],
            keypoints=list(val.keypoint_names),
            preprocessing=dict(self.form.preprocessing),
            decoder_options=dict(self.form.options),
            recipe_digest=recipe.digest(),
            level=self.trial.name,
            sparsity=self.trial.read_result().sparsity_prunable,
            values=target.values,
            format=target.format,
            target=target.name,
            created_by=versions(),
            opset=target.opset,
        )

    def without_dead_channels(self) -> Trimmed:
        """Trials that pruned whole filters lose them; the parity gate compares with the whole network."""
        if self.searched.recipe.pruning.structure != "filter":
            return Trimmed(self.model, {})
        return Trimmed(*without_dead_channels(self.model, self.trial.name))

    def calibration(self) -> Calibration:
        """Images of the folder or of the training, and the grids of a trial that was fine-tuned as int8.

        Raises:
            DataError: the folder has no images.
        """
        trained_on = [record.path for record in self.searched.train.images]
        files = trained_on if self.calibrate is None else image_files(self.calibrate)
        feeds = [self.decoder.prepare(read_image(file))[0] for file in spread(files, self.target.calibration.images)]
        return Calibration(feeds, learned_grids(self.trial, self.names))

    def sparsity(self, layers: Sequence[LayerReport]) -> float | None:
        """The result of the trial has it."""
        return None

    def control(self, metadata: MetadataBuilder) -> Path | None:
        """The dense trial, exported before."""
        return self.dense

    def hold_parity(self, written: Written) -> GateResult:
        """Hold the artifact to the detections of the torch model, and to its AP.

        A trial that was trained as INT8 computes is compared as such.

        Raises:
            ParityError, GateError: see `hold_detections` and `hold_quantized_ap`.
        """
        recipe, val, gates = self.searched.recipe, self.searched.val, self.target.gates
        quantization = written.compiled.results.quantization
        if quantization is not None:
            trained = trained_model(recipe, self.trial, val, rounding=True)
            found = compare_detections_of(written.file, trained, val, recipe, gates, paired=True)
            if self.trial.read_result().kind == "int8":  # of other trials, `float_scores` are what the file is held to
                strict = written.compiled.passed_up
                most = gates.int8_ap_drop
                hold_quantized_ap(found.torch_scores, found.file_scores, most, quantization, strict=strict)
            return found
        stored, rounding = round_values(self.model, self.target.float_values).proto, RELATIVE_ROUNDING
        if self.target.values == "bf16":
            hold_bf16_detections(written.file, self.module, val, recipe, gates)
            rounding = BF16_ROUNDING
        reference = stored_reference(self.module, stored, rounding)
        return hold_detections(written.file, reference, val, recipe, gates)

    def accuracy(self, written: Written, parity: GateResult) -> Accuracy:
        """The parity gate has measured it."""
        return Accuracy(parity.torch_scores, parity.file_scores)

    def agreement(self, written: Written) -> None:
        """Its AP is known."""

    def float_scores(self, written: Written, accuracy: Accuracy) -> Scores:
        """Those of the float ticket that a quantized trial began from; of other trials those of the trial itself.

        Raises:
            DataError: the run does not say.
        """
        return float_scores(self.trial, accuracy.reference)


def searched_in(run: RunDirectory) -> Searched:
    """The recipe and the data sets of a run.

    Raises:
        DataError: damaged files. ParityError: the data set has other classes than those that the run was trained on.
    """
    splits = load_splits(run.recipe(), run.path)
    hold_trained_classes(run, splits["train"])
    return Searched(run.recipe(), splits["train"], splits["val"])


def open_trial(
    searched: Searched, trial: Trial, target: Target, *, dense: Path | None = None, calibrate: Path | None = None
) -> TrialSource:
    """The source that a finished trial is; its norms are folded, and the folded network is held to the trained one.

    Raises:
        DataError: damaged files. ParityError: folding changes what the network computes.
    """
    trained, source = trained_model(searched.recipe, trial, searched.val), source_of(searched.recipe.detector)
    deployed = deployed_form(source, trained, quantized=trial.read_result().kind == "int8")
    if deployed.module is not trained:
        hold_deployed(trained, deployed.module, searched.val, searched.recipe, target.gates)
    folded = fold_norm(deployed.module)
    for name, reason in folded.kept:
        log.warning("%s: the norm '%s' stays in the graph and costs time: %s", trial.name, name, reason)
    # The parity gate's reference is folded too, since rounded weights exist nowhere else; so folding has its own gate.
    hold_folding(deployed.module, folded.module, searched.val)
    form = source.export_form(folded.module)
    graph = captured(form, searched.val, target.opset)
    decoder = fit_recorded(
        form.decoder, signature_of(graph), searched.val.class_names, form.preprocessing, form.options
    ).decoder
    records = searched.val.images[:KERNEL_IMAGES]
    inputs = [(record.file_name, decoder.prepare(read_record(record))[0]) for record in records]
    return TrialSource(
        searched,
        trial,
        target,
        folded.module,
        form,
        decoder,
        normalize(graph),
        inputs,
        dense,
        calibrate,
        deployed.names,
    )


def captured(form: ExportForm, dataset: CocoDataset, opset: int) -> ModelProto:
    """The graph of a detector, traced on the first image of a data set, or on an input of the size that it takes."""
    if form.shape is None:
        return capture.capture(form.module, read_record(dataset.images[0]), opset)
    names = capture.TracedNames(form.input_name, form.output_names, {})
    # Of gray: on zeros, activations are so alike that a choice among them may end in none.
    return capture.capture(form.module, np.full(form.shape, 0.5, np.float32), opset, names)


def stored_reference(model: nn.Module, graph: ModelProto, rounding: float = RELATIVE_ROUNDING) -> nn.Module:
    """`model` with the weights that `graph` stores: what the artifact has to reproduce, rounding included.

    rounding: the most that it changes a weight, relative to it.

    Raises:
        ParityError: a stored weight is no rounding of the trained one, so that the graph must not vouch for it.
    """
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    turned = {f"{name}{capture.TURNED}": value.detach().T for name, value in parameters.items() if value.ndim == 2}
    parameters |= turned
    with torch.no_grad():
        for tensor in graph.graph.initializer:
            if tensor.name in parameters:
                parameter = parameters[tensor.name]
                stored = torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(parameter.dtype)
                if stored.shape != parameter.shape or not torch.allclose(
                    stored, parameter, rtol=rounding, atol=ABSOLUTE_ROUNDING
                ):
                    raise ParityError(
                        f"'{tensor.name}' holds other weights in the exported graph than in the trained model; "
                        "nothing was exported"
                    )
                parameter.copy_(stored)
    return model


def float_scores(trial: Trial, own: Scores) -> Scores:
    """Scores on val of the float ticket that a quantized trial began from; of other trials `own`, the trial's.

    Raises:
        DataError: the result of the trial names no ticket, or the ticket has no AP.
    """
    result = trial.read_result()
    if result.kind != "int8":
        return own
    found = trial.run.trial(result.parent).read_result().val if result.parent else None
    if found is None:
        raise DataError(f"{trial.result} names no float ticket whose AP on val is known; restore the file")
    return Scores(found)
