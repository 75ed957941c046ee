"""Detections in the compact form that COCO's metrics read, checked on the way.

The reference evaluator accepts NaN scores, unknown categories and inverted boxes without a word; here they
are errors that name the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lth_deploy.detections import Detections, FloatArray, IntArray
from lth_deploy.errors import DataError

Kind = Literal["bbox", "segm", "keypoints"]
KINDS: tuple[Kind, ...] = ("bbox", "segm", "keypoints")

MASK_THRESHOLD = 0.5
"""A pixel belongs to an object from this probability on, as in torchvision's and detectron2's evaluation."""


@dataclass(frozen=True)
class CompactDetections:
    """Detections of one image with masks run-length coded, so that those of a whole data set fit in memory.

    boxes: float32 [N, 4] as x1, y1, x2, y2. masks: N compressed COCO RLE dicts. keypoints: float32 [N, K, 3].
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    masks: tuple[dict[str, Any], ...] | None = None
    keypoints: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.scores)


def compact(detections: Detections | CompactDetections) -> CompactDetections:
    """`detections` with masks cut at `MASK_THRESHOLD` and run-length coded; compact ones stay as they are."""
    if isinstance(detections, CompactDetections):
        return detections
    masks = None if detections.masks is None else encode_masks(detections.masks >= MASK_THRESHOLD)
    return CompactDetections(detections.boxes, detections.scores, detections.labels, masks, detections.keypoints)


def encode_masks(masks: np.ndarray[Any, Any]) -> tuple[dict[str, Any], ...]:
    """COCO RLE dicts of boolean masks [N, H, W]."""
    from pycocotools import mask as coder

    if len(masks) == 0:
        return ()
    return tuple(coder.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))))


def result_rows(
    image_id: int, detections: Detections | CompactDetections, category_ids: Sequence[int], kind: Kind
) -> list[dict[str, Any]]:
    """COCO annotation dicts without ids for one image; area is what the metric of `kind` bins by size.

    Raises:
        DataError: a value that COCO's metrics would swallow silently; the message names the image.
    """
    found = compact(detections)
    check_detections(image_id, found, len(category_ids), kind)
    x1, y1, x2, y2 = (found.boxes.astype(float).T) if len(found) else np.zeros((4, 0))
    rows = [
        {
            "image_id": image_id,
            "category_id": category_ids[int(label) - 1],
            "score": float(score),
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        for left, top, right, bottom, score, label in zip(x1, y1, x2, y2, found.scores, found.labels, strict=True)
    ]
    if kind == "segm":
        _add_masks(rows, found)
    elif kind == "keypoints":
        _add_keypoints(rows, found)
    return rows


def check_detections(image_id: int, found: CompactDetections, classes: int, kind: Kind) -> None:
    """Refuse what makes an AP meaningless.

    Raises:
        DataError: wrong shapes, non-finite numbers, a negative box, a label out of range, or a missing head.
    """
    count = len(found.scores)
    if found.boxes.shape != (count, 4) or found.labels.shape != (count,):
        raise DataError(
            f"detections of image {image_id}: {count} scores but boxes of shape {found.boxes.shape} and "
            f"labels of shape {found.labels.shape}; the three must agree"
        )
    if not np.isfinite(found.scores).all():
        raise DataError(f"detections of image {image_id}: a score is not finite; the model diverged")
    if not np.isfinite(found.boxes).all():
        raise DataError(f"detections of image {image_id}: a box coordinate is not finite; the model diverged")
    if (found.boxes[:, 2:] < found.boxes[:, :2]).any():
        raise DataError(f"detections of image {image_id}: a box ends before it starts; give x1, y1, x2, y2")
    if count and not (found.labels.min() >= 1 and found.labels.max() <= classes):
        raise DataError(
            f"detections of image {image_id}: labels {found.labels.min()}..{found.labels.max()} but there "
            f"are {classes} classes, labeled 1..{classes}; the model was made for other classes"
        )
    if count and kind == "segm" and (found.masks is None or len(found.masks) != count):
        raise DataError(f"detections of image {image_id} have no masks; evaluate 'bbox' only")
    if count and kind == "keypoints" and not _has_keypoints(found):
        raise DataError(f"detections of image {image_id} have no finite keypoints; evaluate 'bbox' only")


def _has_keypoints(found: CompactDetections) -> bool:
    points = found.keypoints
    return points is not None and len(points) == len(found) and bool(np.isfinite(points).all())


def _add_masks(rows: list[dict[str, Any]], found: CompactDetections) -> None:
    from pycocotools import mask as coder

    for row, mask in zip(rows, found.masks or (), strict=True):
        row["segmentation"] = mask
        row["area"] = float(coder.area(mask))


def _add_keypoints(rows: list[dict[str, Any]], found: CompactDetections) -> None:
    # COCO bins a detected pose by the extent of its points, not by the detected box.
    for row, points in zip(rows, found.keypoints if found.keypoints is not None else (), strict=True):
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        width, height = (float(side) for side in high - low)
        row["keypoints"] = [float(value) for value in points.reshape(-1)]
        row["area"] = width * height
        row["bbox"] = [float(low[0]), float(low[1]), width, height]
