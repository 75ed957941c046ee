"""Average precision with pycocotools' metrics and VOC's, silent, and defined where the reference crashes.

No detections give AP 0; no ground truth gives None. All figures are fractions in 0..1.
"""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_rows import KINDS, CompactDetections, Kind, result_rows
from lth_deploy.evaluation.voc_ap import VocAp, voc_average_precision

logger = logging.getLogger(__name__)

Metrics = dict[str, float | None]
"""AP, AP50, AP75, APs, APm, APl, and of boxes VOC07 and VOC10; None where the data set has no object of that size."""

Engine = Literal["faster-coco-eval", "pycocotools"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

UNIFORM_SIGMA = 0.05
"""Keypoint tolerance where COCO's 17 do not apply; those run from .025 (eyes) to .107 (hips)."""

_COCO_KEYPOINTS = 17


@dataclass(frozen=True)
class ApResult:
    """What one detector reaches on one data set; `metrics` by kind ('bbox', 'segm', 'keypoints'), `voc` of boxes."""

    metrics: dict[str, Metrics]
    n_images: int
    notes: list[str] = field(default_factory=list)
    voc: VocAp | None = None


def evaluate_detections(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
    kinds: Sequence[str] = ("bbox",),
    *,
    engine: Engine = "pycocotools",
) -> ApResult:
    """Average precision of `detections` (by image id; an absent image counts as one without detections).

    `category_ids[label - 1]` is the ground truth's id of a label. engine: what computes COCO's figures, pycocotools for
    those that are published; faster-coco-eval computes the same in less time, and pycocotools where it is absent.

    Raises:
        DataError: an unknown image or category, a non-finite or malformed detection, annotations that lack
            what a kind needs; the message names the image.
    """
    metrics: dict[str, Metrics] = {}
    notes: list[str] = []
    voc: VocAp | None = None
    for kind in kinds:
        evaluation = run_coco(ground_truth, detections, category_ids, kind, engine=engine)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        metrics[kind] = read_metrics(evaluation)
        if kind == "bbox":
            voc = voc_average_precision(ground_truth, detections, category_ids)
            metrics[kind] |= voc.metrics()
        if kind == "keypoints" and len(evaluation.params.kpt_oks_sigmas) != _COCO_KEYPOINTS:
            notes.append(
                f"keypoint AP uses one tolerance of {UNIFORM_SIGMA} for all "
                f"{len(evaluation.params.kpt_oks_sigmas)} points: COCO defines tolerances for its 17 only"
            )
    if kinds and all(value["AP"] is None for value in metrics.values()):
        notes.append("the data set has no ground-truth objects, so there is no AP")
    return ApResult(metrics, len(ground_truth["images"]), notes, voc)


def run_coco(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
    kind: str,
    *,
    engine: Engine = "pycocotools",
) -> Any:
    """A COCOeval after `evaluate()`: matched, not yet accumulated. Inputs stay unchanged.

    That of pycocotools has the matches in `evalImgs`, that of faster-coco-eval keeps them to itself.

    Raises:
        DataError: as `evaluate_detections`.
    """
    COCO, COCOeval = _classes(engine)
    checked = _check_inputs(ground_truth, detections, category_ids, kind)
    rows = [
        row
        for image_id in sorted(detections)
        for row in result_rows(image_id, detections[image_id], category_ids, checked)
    ]
    for number, row in enumerate(rows, start=1):
        row["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
    shared = {"images": list(ground_truth["images"]), "categories": list(ground_truth["categories"])}
    # COCOeval writes into the annotations it is given, and takes id 0 for "not matched".
    annotations = [
        {"iscrowd": 0, **annotation, "id": number}
        for number, annotation in enumerate(ground_truth["annotations"], start=1)
    ]
    truth.dataset = {**shared, "annotations": annotations}
    found.dataset = {**shared, "annotations": rows}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, checked)
        evaluation.params.catIds = sorted(category_ids)
        if checked == "keypoints":
            _set_sigmas(evaluation, annotations, rows)
        evaluation.evaluate()
    return evaluation


def _classes(engine: Engine) -> tuple[Any, Any]:
    """COCO and COCOeval of an engine."""
    if engine == "faster-coco-eval":
        try:
            import faster_coco_eval

            return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster
        except ImportError:
            logger.debug("faster-coco-eval is not installed; pycocotools computes AP")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _check_inputs(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Any],
    category_ids: Sequence[int],
    kind: str,
) -> Kind:
    checked = next((name for name in KINDS if name == kind), None)
    if checked is None:
        raise DataError(f"unknown kind of AP '{kind}'; choose from {', '.join(KINDS)}")
    unknown = sorted(set(detections) - {image["id"] for image in ground_truth["images"]})
    if unknown:
        raise DataError(
            f"detections for {len(unknown)} images that the annotations do not have, first ids "
            f"{unknown[:5]}; evaluate on the data set that was predicted"
        )
    missing = sorted(set(category_ids) - {category["id"] for category in ground_truth["categories"]})
    if missing:
        raise DataError(
            f"the model's category ids {missing[:5]} are not in the annotations; evaluate on a data set with "
            "the model's classes"
        )
    needed = {"segm": "segmentation", "keypoints": "keypoints"}.get(checked)
    if needed is not None:
        for annotation in ground_truth["annotations"]:
            if not annotation.get(needed):
                raise DataError(
                    f"annotation {annotation['id']} of image {annotation['image_id']} has no {needed}; "
                    f"'{kind}' AP needs one for every object"
                )
    return checked


def _set_sigmas(evaluation: Any, annotations: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    counts = {len(row["keypoints"]) // 3 for row in [*annotations, *rows]}
    if len(counts) > 1:
        raise DataError(
            f"annotations and detections have different numbers of keypoints {sorted(counts)}; evaluate a "
            "model with the data set's keypoints"
        )
    count = counts.pop() if counts else _COCO_KEYPOINTS
    if count != _COCO_KEYPOINTS:
        evaluation.params.kpt_oks_sigmas = np.full(count, UNIFORM_SIGMA)
    for annotation in annotations:
        annotation.setdefault("num_keypoints", sum(flag > 0 for flag in annotation["keypoints"][2::3]))


def read_metrics(evaluation: Any) -> Metrics:
    """Means over `eval['precision']` [threshold, recall, category, area, max detections], as summarize()."""
    precision = evaluation.eval["precision"]
    areas = list(evaluation.params.areaRngLbl)

    def mean(area: str, threshold: int | None = None) -> float | None:
        if area not in areas:
            return None
        chosen = precision[:, :, :, areas.index(area), -1]
        chosen = chosen if threshold is None else chosen[threshold]
        present = chosen[chosen > -1]
        return float(present.mean()) if present.size else None

    return {
        "AP": mean("all"),
        "AP50": mean("all", 0),
        "AP75": mean("all", 5),
        "APs": mean("small"),
        "APm": mean("medium"),
        "APl": mean("large"),
    }
