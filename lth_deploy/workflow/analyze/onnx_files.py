"""The analysis of ONNX files on one data set, the first of them as the control."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import UsageError
from lth_deploy.reporting.analysis.schema import ClassInfo, RunAnalysis, Storage
from lth_deploy.run.summary import LayerSummary, TrialSummary
from lth_deploy.workflow.analyze.compare_trials import Comparison, count_objects, require_objects
from lth_deploy.workflow.analyze.detection_cache import Found, cached_detections
from lth_deploy.workflow.analyze.options import AnalyzeOptions
from lth_deploy.workflow.artifact import content_digest, find_artifact, open_session, read_model_file
from lth_deploy.workflow.evaluate import detect_all, kinds_of

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.workflow.analyze.run_inputs import OpenedRun
    from lth_deploy.workflow.artifact import ModelFile
    from lth_deploy.workflow.inspect.report import InspectReport

_SEED = 0


@dataclass(frozen=True)
class OpenedFiles:
    """Files by name, and the data and engine that they run with.

    train_objects: by class; zeros where the training data is unknown. decoder: as the user named it.
    """

    files: "dict[str, ModelFile]"
    dataset: "CocoDataset"
    split: str
    train_objects: list[int]
    engine: str
    decoder: str | None


def open_files(paths: Sequence[Path], options: AnalyzeOptions, run: "OpenedRun | None") -> OpenedFiles:
    """Check files and data; without --data those of `run` are taken.

    Raises:
        UsageError: no data, two files of one name, or no decoder.
        ArtifactError: a file is missing or damaged.
        DataError: the data is faulty or has no objects.
    """
    if (options.data is None) != (options.images is None):
        raise UsageError("analyze: --data and --images go together")
    if options.data is not None and options.images is not None:
        from lth_deploy.data.coco.load import load_coco

        dataset, split = load_coco(options.data, options.images), options.data.stem
        dataset = dataset if options.limit is None else dataset.subset(options.limit)
        require_objects(dataset, str(options.data))
        train = [0] * len(dataset.categories)
    elif run is not None:
        dataset, split, train = run.dataset, f"{run.split} of {run.name}", count_objects(run.train)
    else:
        raise UsageError(
            "analyze: ONNX files need --data ANN.json and --images DIR, or a run whose data they are tried on"
        )
    files = {path.stem: read_model_file(find_artifact(path), options.decoder) for path in paths}
    if len(files) < len(paths):
        raise UsageError("analyze: two ONNX files have one name; rename one")
    return OpenedFiles(files, dataset, split, train, options.engine, options.decoder)


def analyze_files(opened: OpenedFiles, folder: Path, samples: int) -> RunAnalysis:
    """Everything that can be said of files: no losses and no masks; detections are kept in `folder`.

    Raises:
        ArtifactError: an engine refuses a file.
        DataError: a model has no class of the data set.
        StorageError: the disk refuses.
    """
    from lth_deploy.workflow.inspect.inspect import inspect_artifact

    found = {name: _detections(opened, name, folder) for name in opened.files}
    control = next(iter(found))
    compare = Comparison(opened.dataset, control, samples, _SEED)
    shared = [
        kind for kind in kinds_of(opened.dataset, found[control]) if all(_has(kind, one) for one in found.values())
    ]
    reports = {name: inspect_artifact(file.path, run=True) for name, file in opened.files.items()}
    same = len({tuple((row.name, row.shape) for row in report.layers) for report in reports.values()}) == 1
    counts = zip(opened.dataset.class_names, opened.train_objects, count_objects(opened.dataset), strict=True)
    notes = ["Files have no training losses and no masks of their own: those are left out."]
    notes += [] if same else ["The files have different layers: zeros and multiplications of each are left out."]
    notes += [] if any(opened.train_objects) else ["The training data is unknown: AP by class frequency is left out."]
    return RunAnalysis(
        name="files",
        detector=", ".join(file.path.name for file in opened.files.values()),
        source="files",
        split=opened.split,
        images=len(opened.dataset.images),
        classes=[ClassInfo(name=name, train_objects=before, objects=now) for name, before, now in counts],
        trials=[_shown(name, report, name == control, same) for name, report in reports.items()],
        kinds=[compare.kind(kind, found) for kind in shared],
        storage=[_storage(name, report) for name, report in reports.items()],
        losses=[],
        notes=notes,
    )


def _detections(opened: OpenedFiles, name: str, folder: Path) -> Found:
    file = opened.files[name]
    key = {
        "file": content_digest(file),
        "engine": opened.engine,
        "decoder": opened.decoder,
        "data": opened.dataset.digest(),
    }

    def make() -> Found:
        return detect_all(open_session(file, engine=opened.engine, threads=0), opened.dataset)[0]

    return cached_detections(folder, key, make, f"{file.path.name} on {opened.split}")


def _has(kind: str, found: Found) -> bool:
    heads = {"segm": "masks", "keypoints": "keypoints"}
    return kind == "bbox" or any(getattr(one, heads[kind]) is not None for one in found.values())


def _shown(name: str, report: "InspectReport", is_control: bool, with_layers: bool) -> TrialSummary:
    layers = [
        LayerSummary(
            name=row.name,
            group=row.name.split(".")[0],
            shape=list(row.shape),
            elements=row.elements,
            zeros=row.zeros,
            positions=row.positions,
        )
        for row in report.layers
    ]
    quantized = report.metadata is not None and report.metadata.values == "int8"
    return TrialSummary(
        name=name,
        kind="dense" if is_control else "int8" if quantized else "ticket",
        sparsity_prunable=report.prunable.share,
        sparsity_all=report.parameters.share,
        zero_macs=report.macs.share if report.macs else None,
        layers=layers if with_layers else [],
    )


def _storage(name: str, report: "InspectReport") -> Storage:
    from lth_deploy.workflow.inspect.weight_bytes import weight_facts

    parts = weight_facts(report.path, None).parts
    if parts is None:
        return Storage(trial=name, name="file", values=0, positions=0, dense=report.bytes)
    return Storage(
        trial=name, name="file", values=parts.values, positions=parts.positions, dense=parts.dense, other=parts.other
    )
