"""From all that a model proposes to the detections of an image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array, Arrays
from lth_deploy.decoders.boxes.suppression import suppress
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.signature import shape_text
from lth_deploy.detections import Detections
from lth_deploy.errors import ArtifactError

FloatArray = npt.NDArray[np.float32]
MOST = 300
"""Detections of an image, unless the family has fewer."""


@dataclass(frozen=True)
class Limits:
    """score: detections score more. iou: of two boxes of a class that overlap more, one goes; None keeps all.

    most: detections of an image. candidates: boxes that are compared, those with the best scores.
    one_class: whether a box is of its best class alone. in_image: whether boxes are compared in pixels of the image,
    where they are clipped, and not in those of the input.
    """

    score: float
    iou: float | None
    most: int = MOST
    candidates: int = 30_000
    one_class: bool = False
    in_image: bool = False


@dataclass(frozen=True)
class Proposals:
    """boxes: [N, 4] as x1, y1, x2, y2, in pixels of the input. scores: [N, C]; or [N] where there are labels.

    labels: [N], from 0. mapped: whether the boxes are in pixels of the image already.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: npt.NDArray[np.int64] | None = None
    mapped: bool = False


def select(found: Proposals, where: Placement, limits: Limits) -> Detections:
    """The detections among the proposals, best score first.

    Raises:
        ArtifactError: a score, or the box of a candidate, is no number.
    """
    _check_numbers("scores", found.scores, np.isnan(found.scores))
    rows, labels, scores = _candidates(found, limits)
    boxes = found.boxes[rows].astype(np.float32, copy=False)
    _check_numbers("boxes", boxes, ~np.isfinite(boxes))
    if found.mapped:
        boxes = np.clip(boxes, 0, np.array([where.width, where.height] * 2, np.float32))
    elif limits.in_image:
        boxes = where.to_image(boxes)
    solid = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    boxes, labels, scores = boxes[solid], labels[solid], scores[solid]
    if limits.iou is None:
        kept = np.argsort(-scores, kind="stable")[: limits.most]
    else:
        kept = suppress(boxes, scores, labels, limits.iou, limits.most)
    boxes, labels, scores = boxes[kept], labels[kept], scores[kept]
    if not (found.mapped or limits.in_image):
        boxes = where.to_image(boxes)
        visible = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        boxes, labels, scores = boxes[visible], labels[visible], scores[visible]
    return Detections(boxes, scores.astype(np.float32), labels.astype(np.int64) + 1)


def corners(boxes: Array) -> FloatArray:
    """Boxes [N, 4] given as center and size, as corners."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1).astype(np.float32)


def probabilities(logits: Array) -> FloatArray:
    """The logistic function, without overflow."""
    values = logits.astype(np.float32)
    small = np.exp(-np.abs(values))
    found: FloatArray = np.where(values >= 0, 1 / (1 + small), small / (1 + small))
    return found


def softmax(logits: Array) -> FloatArray:
    """Probabilities over the last axis."""
    values = logits.astype(np.float32)
    weights = np.exp(values - values.max(axis=-1, keepdims=True))
    found: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return found


def class_numbers(values: Array) -> npt.NDArray[np.int64]:
    """Classes that a graph gives as floats, or as integers.

    Raises:
        ArtifactError: one is no number.
    """
    if values.dtype.kind == "f":
        _check_numbers("classes", values, ~np.isfinite(values))
        values = np.rint(np.clip(values.astype(np.float64), -1, 1 << 30))
    return values.astype(np.int64)


def checked(outputs: Arrays, name: str, *shape: int | None) -> Array:
    """The output called `name`, whose sizes are as given; None stands for any.

    Raises:
        ArtifactError: there is none, or it has another shape.
    """
    if name not in outputs:
        raise ArtifactError(f"the model has no output '{name}' but {sorted(outputs)}; is the decoder the right one?")
    value = outputs[name]
    same = value.ndim == len(shape) and all(
        size is None or size == own for size, own in zip(shape, value.shape, strict=True)
    )
    if not same:
        raise ArtifactError(
            f"output '{name}' has the shape {shape_text(value.shape)}, {shape_text(shape)} was expected; "
            "is the decoder the right one?"
        )
    return value


def checked_rows(outputs: Arrays, name: str, columns: int | None, least: int) -> Array:
    """The rows [N, columns] of the output called `name` [1, N, columns].

    columns: None where the graph leaves their number open; there are at least `least` then.

    Raises:
        ArtifactError: as `checked`, or they are too short.
    """
    return _long_enough(checked(outputs, name, 1, None, columns)[0], name, least)


def checked_columns(outputs: Arrays, name: str, rows: int | None, least: int) -> Array:
    """`checked_rows` of an output [1, rows, N] in which each proposal is a column: [N, rows]."""
    return _long_enough(checked(outputs, name, 1, rows, None)[0].T, name, least)


def _long_enough(values: Array, name: str, least: int) -> Array:
    if values.shape[1] < least:
        raise ArtifactError(
            f"output '{name}' has {values.shape[1]} numbers for each box, at least {least} were expected; "
            "is the decoder the right one?"
        )
    return values


def _candidates(found: Proposals, limits: Limits) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], FloatArray]:
    """Row, label from 0 and score of all that scores enough, at most `limits.candidates`."""
    rows: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]
    if found.labels is not None:
        rows = np.flatnonzero((found.scores > limits.score) & (found.labels >= 0))  # -1 is no class
        labels, scores = found.labels[rows].astype(np.int64), found.scores[rows]
    elif not found.scores.size:
        return np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0, np.float32)
    elif limits.one_class:
        best = found.scores.max(axis=1)
        rows = np.flatnonzero(best > limits.score)
        labels, scores = found.scores[rows].argmax(axis=1).astype(np.int64), best[rows]
    else:
        rows, columns = np.nonzero(found.scores > limits.score)
        labels, scores = columns.astype(np.int64), found.scores[rows, columns]
    if len(scores) > limits.candidates:
        top = np.sort(np.argpartition(-scores, limits.candidates - 1)[: limits.candidates])
        rows, labels, scores = rows[top], labels[top], scores[top]
    return rows, labels, scores


def _check_numbers(what: str, values: Array, wrong: npt.NDArray[np.bool_]) -> None:
    if wrong.any():
        count = int(wrong.sum())
        raise ArtifactError(
            f"the model gives {count:,} {what} of {values.size:,} that are no numbers; is the decoder the right one?"
        )
