"""SSD: torchvision's and TensorFlow's finished detections, and decoded boxes with class probabilities."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Read, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, checked_columns, class_numbers
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement, Preprocessing
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType

LIMITS = Limits(score=0.01, iou=0.45, most=200)
FINISHED_LIMITS = Limits(score=0.001, iou=None)
_BACKGROUND = ("__background__", "background")
_BOXES = 8732
"""Of SSD300."""


class Ssd:
    """Labels of finished detections count from 1, as 0 is the background."""

    name = "ssd"
    outputs = (
        "boxes [N, 4], scores [N] and labels [N] of torchvision, in pixels of the input",
        "detection_boxes [1, K, 4], detection_scores [1, K] and detection_classes [1, K] of TensorFlow",
        "bboxes [1, K, 4], scores [1, K] and labels [1, K], on a scale of 0 to 1",
        "[1, 4 + C, 8732]: corners and class probabilities of SSD300",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        if any(tensor.name == "image" and tensor.dtype == "uint8" for tensor in signature.inputs):
            return "its input is that of decoder lth"
        if any(tensor.name.startswith("orig_target_size") for tensor in signature.inputs):
            return "its input orig_target_sizes is that of decoder detr"
        named = {output.name: output for output in signature.outputs}
        if {"detection_boxes", "detection_scores", "detection_classes"} <= set(named):
            return _finished(signature, hints, _tensorflow, usual.PIXELS, (300, 300))
        if {"boxes", "scores", "labels"} <= set(named) and named["boxes"].fits(None, 4) and named["scores"].fits(None):
            return _finished(signature, hints, _torchvision, usual.STRETCHED, (320, 320))
        if {"bboxes", "scores", "labels"} <= set(named) and named["bboxes"].fits(1, None, 4):
            return _finished(signature, hints, _normalized, usual.IMAGENET, (1200, 1200))
        if len(signature.outputs) == 1 and signature.outputs[0].fits(1, None, _BOXES):
            return _decoded(signature, hints, signature.outputs[0])
        return "its outputs are not called boxes, scores and labels, and have not the 8732 boxes of SSD300"


def _finished(
    signature: Signature, hints: Hints, read: Read, how: Preprocessing, size: tuple[int, int]
) -> BoxDecoder | str:
    setting = find_setting(signature, hints, how, size)
    if isinstance(setting, str):
        return setting
    preprocessing = setting.preprocessing
    if hints.preprocessing is None and hints.size is None and _is_open(signature, setting.image.name):
        preprocessing = preprocessing.model_copy(update={"fit": "as-is", "size": None})
    names = hints.names
    if names is not None and names[:1] in [(word,) for word in _BACKGROUND]:
        names = names[1:]
    return BoxDecoder(setting.image, preprocessing, read, FINISHED_LIMITS, names and _distinct(names))


def _is_open(signature: Signature, name: str) -> bool:
    """Whether the input takes images of any size."""
    shape = next(tensor.shape for tensor in signature.inputs if tensor.name == name)
    return shape is not None and sum(size is None for size in shape[-3:]) >= 2


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of which those that stand for no class, like torchvision's N/A, have their numbers."""
    return tuple(f"{name} {place}" if names.count(name) > 1 else name for place, name in enumerate(names, start=1))


def _torchvision(outputs: Arrays, where: Placement) -> Proposals:
    scores = checked(outputs, "scores", None)
    boxes = checked(outputs, "boxes", len(scores), 4)
    labels = checked(outputs, "labels", len(scores))
    return _from_one(boxes, scores, labels)


def _tensorflow(outputs: Arrays, where: Placement) -> Proposals:
    scores = checked(outputs, "detection_scores", 1, None)[0]
    boxes = checked(outputs, "detection_boxes", 1, len(scores), 4)[0]
    labels = checked(outputs, "detection_classes", 1, len(scores))[0]
    sides = np.array([where.input_height, where.input_width] * 2, np.float32)
    return _from_one((boxes * sides)[:, [1, 0, 3, 2]], scores, labels)


def _normalized(outputs: Arrays, where: Placement) -> Proposals:
    scores = checked(outputs, "scores", 1, None)[0]
    boxes = checked(outputs, "bboxes", 1, len(scores), 4)[0]
    labels = checked(outputs, "labels", 1, len(scores))[0]
    return _from_one(boxes * np.array([where.input_width, where.input_height] * 2, np.float32), scores, labels)


def _from_one(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Proposals:
    """Proposals without the rows of label 0."""
    numbers = class_numbers(labels)
    rows = np.flatnonzero(numbers >= 1)
    return Proposals(boxes[rows], scores[rows], numbers[rows] - 1)


def _decoded(signature: Signature, hints: Hints, output: TensorType) -> BoxDecoder | str:
    setting = find_setting(signature, hints, usual.SSD300, (300, 300))
    if isinstance(setting, str):
        return setting
    rows = output.size(1)
    classes = classes_of(hints.names, None if rows is None else rows - 4, str(output))
    read = partial(_corners, output.name, rows)
    return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names)


def _corners(name: str, rows: int | None, outputs: Arrays, where: Placement) -> Proposals:
    checked(outputs, name, 1, None, _BOXES)
    values = checked_columns(outputs, name, rows, 5)
    return Proposals(values[:, :4], values[:, 4:])
