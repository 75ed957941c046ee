"""The verb `evaluate`: AP of an ONNX file, by the code that also scores torch models."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import DataError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.evaluation.bootstrap import match_detections
from lth_deploy.evaluation.coco_ap import ApResult, evaluate_detections
from lth_deploy.evaluation.coco_rows import CompactDetections, compact
from lth_deploy.progress import progress
from lth_deploy.workflow.artifact import Artifact, open_artifact, read_model_file
from lth_deploy.workflow.gates.class_names import classes_of, control_beside, hold_control_classes, permutation_note

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """AP of one file on one data set; seconds are for reading, preparing, running and decoding all images."""

    artifact: Path
    engine: dict[str, str]
    ap: ApResult
    seconds: float


@dataclass(frozen=True)
class LabelMap:
    """The data set's label of each of the model's (position label - 1), 0 where it has no such class."""

    labels: npt.NDArray[np.int64]
    notes: list[str]

    def apply(self, found: CompactDetections) -> CompactDetections:
        """`found` in the data set's labels, without detections of other classes.

        Raises:
            DataError: the model gives labels that its own list of classes does not have.
        """
        if len(found) and not (found.labels.min() >= 1 and found.labels.max() <= len(self.labels)):
            raise DataError(
                f"the model gives labels {found.labels.min()}..{found.labels.max()} but names "
                f"{len(self.labels)} "
                "classes; its metadata or decoder is wrong"
            )
        mapped = self.labels[found.labels - 1]
        kept = np.flatnonzero(mapped > 0)
        return CompactDetections(
            found.boxes[kept],
            found.scores[kept],
            mapped[kept],
            None if found.masks is None else tuple(found.masks[index] for index in kept),
            None if found.keypoints is None else found.keypoints[kept],
        )


def evaluate(
    artifact: Path,
    data: Path,
    images: Path,
    *,
    engine: str = "onnxruntime",
    threads: int = 0,
    decoder: str | None = None,
    limit: int | None = None,
    verify: bool = False,
) -> Evaluation:
    """AP of `artifact` (an ONNX file or an exported run) on the COCO data set `data` with its `images`.

    limit: only the first so many images. Masks and keypoints are scored where both sides have them. verify: refuse a
    file that is not the one that the gates of its export passed.

    Raises:
        DataError: faulty data, or a model made for other classes.
        ArtifactError: a damaged or unsupported file.
        ParityError: the file names other classes than the dense control beside it.
        UsageError: unknown engine or decoder.
    """
    from lth_deploy.data.coco.load import load_coco

    dataset = load_coco(data, images)
    dataset = dataset if limit is None else dataset.subset(limit)
    opened = _opened(artifact, engine, threads, decoder, verify=verify)
    start = time.perf_counter()
    found, notes = detect_all(opened, dataset)
    seconds = time.perf_counter() - start
    ap = score(dataset, found)
    ap = replace(ap, notes=[*ap.notes, *notes])
    return Evaluation(opened.file.path, opened.session.describe(), ap, seconds)


def box_scores(
    artifact: Path, data: Path, images: Path, *, decoder: str | None = None, engine: str = "onnxruntime"
) -> Scores:
    """AP of the boxes of `artifact`, with what a comparison with another file on the same images needs.

    Raises:
        DataError, ArtifactError, UsageError: see `evaluate`.
    """
    from lth_deploy.data.coco.load import load_coco

    dataset = load_coco(data, images)
    found, _ = detect_all(_opened(artifact, engine, 0, decoder), dataset)
    return scores_of(dataset, found, ["bbox"], paired=True)


def _opened(file: Path, engine: str, threads: int, decoder: str | None, *, verify: bool = False) -> Artifact:
    """A file whose classes are those of the dense control beside it, if there is one."""
    opened = open_artifact(file, engine=engine, threads=threads, decoder=decoder, verify=verify)
    control = control_beside(opened.file)
    if control is not None:
        hold_control_classes(opened.file, read_model_file(control, decoder))
    return opened


def scores_of(
    dataset: "CocoDataset", found: Mapping[int, CompactDetections], kinds: Sequence[str], *, paired: bool
) -> Scores:
    """AP of detections; paired: with what a comparison by image with others on the same images needs.

    Raises:
        DataError: a detection that has no meaning; see `evaluate_detections`.
    """
    truth, categories = dataset.ground_truth(), dataset.category_ids
    metrics = evaluate_detections(truth, found, categories, kinds).metrics
    matches = {kind: match_detections(truth, found, categories, kind) for kind in (kinds if paired else ())}
    return Scores(metrics, matches)


def detect_all(artifact: Artifact, dataset: "CocoDataset") -> tuple[dict[int, CompactDetections], list[str]]:
    """Detections by image id in the data set's labels, and notes about classes that only one side knows.

    Raises:
        DataError: an image cannot be read, or no class is known to both.
    """
    mapping = map_labels(artifact.file.class_names, dataset.class_names)
    categories = [(category.id, category.name) for category in dataset.categories]
    permuted = permutation_note(classes_of(artifact.file.metadata), categories)
    if permuted is not None:
        log.warning("%s: %s", artifact.file.path.name, permuted)
    found: dict[int, CompactDetections] = {}
    with progress(f"{artifact.file.path.name}: detection", total=len(dataset.images)) as step:
        for record in dataset.images:
            found[record.id] = mapping.apply(compact(artifact.predict_record(record)))
            step()
    return found, [*mapping.notes, *([] if permuted is None else [permuted])]


def score(dataset: "CocoDataset", found: Mapping[int, CompactDetections]) -> ApResult:
    """AP of every kind that the data set has annotations and the detections have heads for.

    Raises:
        DataError: a detection that has no meaning; see `evaluate_detections`.
    """
    return evaluate_detections(dataset.ground_truth(), found, dataset.category_ids, kinds_of(dataset, found))


def kinds_of(dataset: "CocoDataset", found: Mapping[int, CompactDetections]) -> list[str]:
    """The kinds of AP that both sides allow; boxes always."""
    kinds = ["bbox"]
    some = list(found.values())
    if dataset.has_masks and any(one.masks is not None for one in some):
        kinds.append("segm")
    objects = [one for group in dataset.annotations.values() for one in group]
    labeled = bool(objects) and all(one.keypoints for one in objects)
    if labeled and any(one.keypoints is not None for one in some):
        kinds.append("keypoints")
    return kinds


def map_labels(model: Sequence[str], dataset: Sequence[str]) -> LabelMap:
    """Match classes by name: numbers mean nothing between two training sets.

    A class of the data set that the model lacks still counts in the AP, as a class it never finds.

    Raises:
        DataError: the model names no classes, names one twice, or shares none with the data set.
    """
    if not model:
        raise DataError(
            "the model does not say what its labels mean; write metadata 'names' into the file, like "
            "{0: 'car', 1: 'bus'}, or give --decoder FILE.py:function with class_names"
        )
    if len(set(model)) != len(model) or len(set(dataset)) != len(dataset):
        raise DataError("two classes have the same name, so labels cannot be matched; rename one")
    positions = {name: label for label, name in enumerate(dataset, start=1)}
    labels = np.array([positions.get(name, 0) for name in model], np.int64)
    if not labels.any():
        raise DataError(
            f"the model's classes {list(model)[:5]} and the data set's {list(dataset)[:5]} have none in "
            f"common; "
            "evaluate on a data set with the model's classes"
        )
    notes = []
    unknown = [name for name, label in zip(model, labels, strict=True) if label == 0]
    if unknown:
        notes.append(f"detections of {len(unknown)} classes that the data set lacks are left out: {unknown[:5]}")
    missing = [name for name in dataset if name not in set(model)]
    if missing:
        notes.append(f"{len(missing)} classes of the data set are unknown to the model and count 0: {missing[:5]}")
    return LabelMap(labels, notes)
