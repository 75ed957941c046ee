"""The analysis of one run: every trial detects once, and all figures come from those detections."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.mask import Masks, elements, kept
from lth_deploy.reporting.analysis.schema import ClassInfo, KindAnalysis, RunAnalysis, Storage
from lth_deploy.run.directory import Trial, read_metrics
from lth_deploy.run.summary import LayerSummary, TrialSummary, WeightCounts
from lth_deploy.workflow.analyze.compare_trials import NO_BOXES, Comparison, count_objects
from lth_deploy.workflow.analyze.detection_cache import Found, cached_detections
from lth_deploy.workflow.analyze.loss_curves import last_parts, loss_curves, thinned
from lth_deploy.workflow.analyze.run_inputs import OpenedRun
from lth_deploy.workflow.analyze.storage_estimate import dense_storage, sparse_storages

if TYPE_CHECKING:
    import torch
    from torch import nn

_LARGEST_DRIFT = 0.001


def analyze_run(opened: OpenedRun, folder: Path, samples: int, device: "torch.device") -> RunAnalysis:
    """Everything about one run; detections are kept in `folder`. samples: of the bootstrap over images.

    Raises:
        DataError: files of the run have changed, or an image is damaged.
        StorageError: the disk refuses.
    """
    from lth_deploy.workflow.search.recipe_checks import metric_kinds

    recipe, dataset = opened.recipe, opened.dataset
    found = {trial.name: _detections(opened, trial, folder, device) for trial in opened.trials}
    compare = Comparison(dataset, opened.control, samples, recipe.training.seed)
    kinds = [compare.kind(kind, found) for kind in metric_kinds(recipe)]
    layers, total = _layers(opened, device)
    trials = [_shown(opened, trial, layers, total) for trial in opened.trials]
    counts = zip(dataset.class_names, count_objects(opened.train), count_objects(dataset), strict=True)
    ends = {trial.name: last_parts(read_metrics(trial.metrics)) for trial in opened.trials}
    return RunAnalysis(
        name=opened.name,
        detector=recipe.detector.title,
        recipe_digest=recipe.digest(),
        split=opened.split,
        images=len(dataset.images),
        classes=[ClassInfo(name=name, train_objects=before, objects=now) for name, before, now in counts],
        parameters=WeightCounts(total=total, prunable=max(map(elements, opened.masks.values()), default=None)),
        trials=trials,
        kinds=kinds,
        storage=_storage(trials, opened.masks, layers, total),
        losses=loss_curves(trials, ends, opened.control),
        notes=_notes(opened, kinds),
    )


def _detections(opened: OpenedRun, trial: Trial, folder: Path, device: "torch.device") -> Found:
    from lth_deploy.workflow.search.torch_detect import detect

    manifest = opened.run.manifest()["files"]
    key = {
        "weights": manifest[str(trial.weights.relative_to(opened.run.path))]["sha256"],
        "detector": opened.recipe.detector.model_dump(mode="json"),
        "data": opened.dataset.digest(),
    }

    def make() -> Found:
        return detect(_model(opened, trial).to(device), opened.dataset, device)

    return cached_detections(folder, key, make, f"{opened.name}, {trial.name} on {opened.split}")


def _model(opened: OpenedRun, trial: Trial) -> "nn.Module":
    from lth_deploy.workflow.search.trained_model import trained_model

    quantized = opened.results[trial.name].kind == "int8"
    return trained_model(opened.recipe, trial, opened.train, rounding=quantized)


def _layers(opened: OpenedRun, device: "torch.device") -> tuple[list[LayerSummary], int]:
    """All layers, with positions as the control (or first trial) has them; and the number of parameters."""
    from lth_deploy.pruning.accounting import parameters
    from lth_deploy.pruning.scope import prunable_layers
    from lth_deploy.workflow.search.find_ticket import build_model
    from lth_deploy.workflow.search.layer_signals import positions_of

    measured = opened.run.trial(opened.control) if opened.control else opened.trials[0]
    positions = positions_of(_model(opened, measured).to(device), opened.dataset, device)
    # Quantized trials are folded: their parameters are not those of the network.
    network = build_model(opened.recipe, opened.train, opened.recipe.training.seed, pretrained=False)
    weights = dict(network.named_parameters())
    layers = [
        LayerSummary(
            name=layer.name,
            group=layer.group,
            shape=list(weights[layer.name].shape),
            elements=weights[layer.name].numel(),
            zeros=0,
            positions=positions.get(layer.name),
        )
        for layer in prunable_layers(network)
    ]
    return layers, parameters(network)


def _shown(opened: OpenedRun, trial: Trial, layers: Sequence[LayerSummary], total: int) -> TrialSummary:
    """A trial's accounting, its layers and its losses."""
    result = opened.results[trial.name]
    masks = opened.masks.get(trial.name, {})
    return TrialSummary(
        name=result.name,
        kind=result.kind,
        sparsity=result.sparsity,
        steps=result.steps[1] - result.steps[0],
        seconds=result.seconds,
        sparsity_prunable=result.sparsity_prunable,
        zero_macs=result.zero_macs,
        val=result.val,
        test=result.test,
        sparsity_all=(elements(masks) - kept(masks)) / total,
        layers=[
            layer.model_copy(update={"zeros": int((~masks[layer.name]).sum())}) if layer.name in masks else layer
            for layer in layers
        ],
        losses=thinned(read_metrics(trial.metrics)),
    )


def _storage(
    trials: Sequence[TrialSummary], masks: Mapping[str, Masks], layers: Sequence[LayerSummary], total: int
) -> list[Storage]:
    shapes = {layer.name: layer.shape for layer in layers}
    found: list[Storage] = []
    for trial in trials:
        if trial.name in masks:
            quantized = trial.kind == "int8"
            found += sparse_storages(trial.name, masks[trial.name], shapes, total, quantized=quantized)
        else:
            found.append(dense_storage(trial.name, total))
    return found


def _notes(opened: OpenedRun, kinds: Sequence[KindAnalysis]) -> list[str]:
    """What is left out, and figures that are not those that the search recorded."""
    notes = [] if opened.control else ["The dense control is not finished: nothing is compared with it."]
    if opened.recipe.detector.name == "classifier":
        notes.append(NO_BOXES)
    if not opened.whole:
        notes.append(f"Only the first {len(opened.dataset.images)} images of the split.")
    if not opened.masks:
        notes.append("No trial has a mask: there are no zeros to show.")
    for kind in kinds:
        for row in kind.trials if opened.whole else []:
            recorded = opened.results[row.trial].ap(opened.split, kind.kind)
            now = row.metrics["AP"]
            if recorded is not None and now is not None and abs(recorded - now) > _LARGEST_DRIFT:
                notes.append(
                    f"{row.trial}: AP is {100 * now:.2f} here, the search recorded {100 * recorded:.2f}: another "
                    "device, other versions, or images that have changed."
                )
    return notes
