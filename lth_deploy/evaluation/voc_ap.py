"""Average precision of boxes at an overlap of one half, by the two rules of Pascal VOC (Everingham et al. 2010, 2015).

Matching is that of the development kit: a detection counts for the object of its class that it overlaps most, even
where that one is found already and another is not. Difficult objects (here: crowd regions and ignored ones) are no
loss where they are missed, and no error where they are found. The kit adds 1 to sides because its corners are pixels
that belong to the object; boxes here end where the last pixel ends, which gives the same overlaps.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.detections import Detections
from lth_deploy.evaluation.coco_rows import CompactDetections, check_detections, compact

OVERLAP = 0.5
TENTHS = 10

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassAp:
    """Objects of one class that count, AP over the area (VOC 2010) and over 11 points (VOC 2007); None without any."""

    name: str
    objects: int
    area: float | None
    eleven_points: float | None


@dataclass(frozen=True)
class VocAp:
    """Every class of a data set, in the order of its labels."""

    classes: tuple[ClassAp, ...]

    @property
    def area(self) -> float | None:
        """Mean over the classes that have objects."""
        return _mean([each.area for each in self.classes])

    @property
    def eleven_points(self) -> float | None:
        """Mean over the classes that have objects."""
        return _mean([each.eleven_points for each in self.classes])

    def metrics(self) -> dict[str, float | None]:
        """The means by the names that tables give them."""
        return {"VOC07": self.eleven_points, "VOC10": self.area}


@dataclass
class _Objects:
    """Objects of one class in one image: boxes [n, 4] as x1, y1, x2, y2, and which are difficult."""

    boxes: Floats
    difficult: Bools


def voc_average_precision(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
) -> VocAp:
    """AP of `detections` (by image id) on a COCO document; `category_ids[label - 1]` is the document's id of a label.

    Equal scores rank in the order of the document's images, and within an image in that of its detections.

    Raises:
        DataError: a detection that has no meaning; the message names the image.
    """
    objects = _by_image_and_class(ground_truth)
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    label_of = {category: label for label, category in enumerate(category_ids, start=1)}
    judged = []
    for image in ground_truth["images"]:
        if image["id"] not in detections:
            continue
        found = compact(detections[image["id"]])
        check_detections(image["id"], found, len(category_ids), "bbox")
        own = {
            label_of[category]: group
            for category, group in objects.get(image["id"], {}).items()
            if category in label_of
        }
        judged.append(_judge_image(found, own))
    ranked = _ranked_by_label(judged, len(category_ids))
    totals = dict.fromkeys(category_ids, 0)
    for groups in objects.values():
        for category, group in groups.items():
            if category in totals:
                totals[category] += int(np.count_nonzero(~group.difficult))
    return VocAp(
        tuple(
            ClassAp(
                names[category_id],
                totals[category_id],
                *_both_rules(hits, totals[category_id]),
            )
            for category_id, hits in zip(category_ids, ranked, strict=True)
        )
    )


def _by_image_and_class(ground_truth: Mapping[str, Any]) -> dict[int, dict[int, _Objects]]:
    grouped: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in ground_truth["annotations"]:
        grouped[annotation["image_id"], annotation["category_id"]].append(annotation)
    objects: dict[int, dict[int, _Objects]] = defaultdict(dict)
    for (image, category), annotations in grouped.items():
        boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64)
        boxes[:, 2:] += boxes[:, :2]
        difficult = [bool(annotation.get("iscrowd") or annotation.get("ignore")) for annotation in annotations]
        objects[image][category] = _Objects(boxes, np.array(difficult, np.bool_))
    return objects


@dataclass
class _Judged:
    """The detections of one image that count: their labels, scores, and which are right."""

    labels: Counts
    scores: Floats
    right: Bools


def _judge_image(found: CompactDetections, objects: Mapping[int, _Objects]) -> _Judged:
    """Judge the detections of one image; `objects` by label. Classes without objects there are all wrong."""
    order = np.lexsort((-found.scores, found.labels))
    labels, boxes = found.labels[order], found.boxes[order].astype(np.float64)
    counted, right = np.ones(len(order), np.bool_), np.zeros(len(order), np.bool_)
    for label, group in objects.items():
        own = slice(*np.searchsorted(labels, (label, label + 1)).tolist())
        if own.start < own.stop:
            counted[own], right[own] = _judge(boxes[own], group)
    return _Judged(labels[counted], found.scores[order][counted].astype(np.float64), right[counted])


def _ranked_by_label(judged: Sequence[_Judged], classes: int) -> list[Bools]:
    """Hits of each class over all images, best score first."""
    if not judged:
        return [np.zeros(0, np.bool_)] * classes
    labels = np.concatenate([one.labels for one in judged])
    scores = np.concatenate([one.scores for one in judged])
    order = np.lexsort((-scores, labels))
    bounds = np.searchsorted(labels[order], np.arange(1, classes + 2))
    hits = np.concatenate([one.right for one in judged])[order]
    return [hits[first:last] for first, last in itertools.pairwise(bounds.tolist())]


def _judge(boxes: Floats, objects: _Objects) -> tuple[Bools, Bools]:
    """Which detections of one class in one image count at all, and which are right; `boxes`: best score first."""
    counted, right = np.ones(len(boxes), np.bool_), np.zeros(len(boxes), np.bool_)
    overlaps = _overlaps(boxes, objects.boxes)
    taken: set[int] = set()
    for row, nearest in enumerate(overlaps.argmax(axis=1).tolist()):
        if overlaps[row, nearest] < OVERLAP:
            continue
        counted[row] = not objects.difficult[nearest]
        right[row] = counted[row] and nearest not in taken
        taken.add(nearest)
    return counted, right


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union [m, n]; 0 where both are empty."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = ((corners[:, 2:] - corners[:, :2]).prod(axis=1) for corners in (boxes, others))
    union = areas[:, None] + other_areas[None] - common
    overlaps: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlaps


def _both_rules(hits: Bools, objects: int) -> tuple[float | None, float | None]:
    """AP over the area and over 11 points of a ranking; None where no object counts."""
    if objects == 0:
        return None, None
    found: Counts = np.cumsum(hits, dtype=np.int64)
    precision = found / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall moves by one object at every hit, and the best precision from there on holds over the step.
    area = float(best[hits].sum() / objects)
    points = [_best_from(found, best, tenth, objects) for tenth in range(TENTHS + 1)]
    return area, sum(points) / len(points)


def _best_from(found: Counts, best: Floats, tenth: int, objects: int) -> float:
    """The best precision from a recall of `tenth` tenths on, compared in whole numbers; 0 where it is not reached."""
    first = int(np.searchsorted(TENTHS * found, tenth * objects))
    return float(best[first]) if first < len(best) else 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
