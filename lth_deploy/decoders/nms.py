"""Detectors with suppression in their graph: ONNX' NonMaxSuppression, or a plug-in of TensorRT's form."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, class_numbers, corners
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType

LIMITS = Limits(score=0.001, iou=None)


class NmsInGraph:
    """The image is that of YOLO, whose exporters add these forms.

    Option `boxes` center: NonMaxSuppression was given center and size of boxes.
    """

    name = "nms"
    outputs = (
        "selected indices [M, 3] with boxes [1, N, 4] and scores [1, C, N], of NonMaxSuppression",
        "num_dets [1, 1], boxes [1, K, 4], scores [1, K] and labels [1, K]",
        "[M, 7]: image, x1, y1, x2, y2, class and score of each object",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.YOLO)
        if isinstance(setting, str):
            return setting
        outputs = signature.outputs
        rows = [output for output in outputs if output.is_float and output.fits(None, 7)]
        if len(outputs) == 1 and rows and rows[0].size(1) == 7:
            read = partial(_rows, rows[0].name)
            return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, hints.names)
        if len(outputs) == 4:
            return _counted(outputs_by_role(signature), hints, setting)
        return _indexed(signature, hints, setting)


def outputs_by_role(signature: Signature) -> dict[str, TensorType]:
    """The four outputs of the form with a count, by what they are."""
    found: dict[str, TensorType] = {}
    for output in signature.outputs:
        name = output.name.lower()
        if output.is_integer and (output.fits(1, 1) or output.fits(1)) and "num" in name:
            found["count"] = output
        elif output.is_float and output.fits(1, None, 4):
            found["boxes"] = output
        elif output.is_float and output.fits(1, None) and "score" in name:
            found["scores"] = output
        elif output.fits(1, None) and ("class" in name or "label" in name):
            found["labels"] = output
    return found


def _counted(found: dict[str, TensorType], hints: Hints, setting: Setting) -> BoxDecoder | str:
    absent = [role for role in ("count", "boxes", "scores", "labels") if role not in found]
    if absent:
        return f"none of its four outputs is the {absent[0]} of objects"
    names = {role: output.name for role, output in found.items()}
    return BoxDecoder(setting.image, setting.preprocessing, partial(_first, names), LIMITS, hints.names)


def _indexed(signature: Signature, hints: Hints, setting: Setting) -> BoxDecoder | str:
    outputs = signature.outputs
    indices = [one for one in outputs if one.is_integer and (one.fits(None, 3) or one.fits(1, None, 3))]
    boxes = [one for one in outputs if one.is_float and one.fits(1, None, 4)]
    boxes = [one for one in boxes if one.size(2) == 4 or "box" in one.name.lower()]
    if len(outputs) != 3 or len(indices) != 1 or not boxes:
        return "it has not three outputs of indices, boxes and scores"
    box = boxes[0] if len(boxes) == 1 else next((one for one in boxes if "box" in one.name.lower()), boxes[0])
    scores = next(one for one in outputs if one is not indices[0] and one is not box)
    if not scores.is_float or not scores.fits(1, None, None):
        return f"output {scores} has no scores [1, C, N]"
    classes = classes_of(hints.names, scores.size(1), str(scores))
    center = hints.options["boxes"] == "center" if "boxes" in hints.options else signature.center_boxes
    read = partial(_selected, indices[0].name, box.name, scores.name, center)
    options = {"boxes": "center" if center else "corners"}
    return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names, options)


def _rows(name: str, outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, name, None, 7)
    return Proposals(values[:, 1:5], values[:, 6], class_numbers(values[:, 5]))


def _first(names: dict[str, str], outputs: Arrays, where: Placement) -> Proposals:
    """As many rows as the graph counts."""
    boxes = checked(outputs, names["boxes"], 1, None, 4)[0]
    scores = checked(outputs, names["scores"], 1, len(boxes))[0]
    labels = checked(outputs, names["labels"], 1, len(boxes))[0]
    flat = names["count"] in outputs and outputs[names["count"]].ndim == 1
    number = checked(outputs, names["count"], *((1,) if flat else (1, 1))).reshape(-1)[0]
    count = int(np.clip(number, 0, len(boxes)))
    return Proposals(boxes[:count], scores[:count], class_numbers(labels[:count]))


def _selected(index: str, box: str, score: str, center: bool, outputs: Arrays, where: Placement) -> Proposals:
    """The boxes at the positions that NonMaxSuppression gives: image, class, box."""
    boxes = checked(outputs, box, 1, None, 4)[0]
    scores = checked(outputs, score, 1, None, len(boxes))[0]
    with_batch = index in outputs and outputs[index].ndim == 3
    chosen = checked(outputs, index, *((1, None, 3) if with_batch else (None, 3))).reshape(-1, 3)
    inside = (chosen >= 0).all(axis=1) & (chosen[:, 1] < len(scores)) & (chosen[:, 2] < len(boxes))
    chosen = chosen[inside & (chosen[:, 0] == 0)]
    label, row = chosen[:, 1].astype(np.int64), chosen[:, 2].astype(np.intp)
    found = corners(boxes[row]) if center else _ordered(boxes[row])
    return Proposals(found, scores[label, row], label)


def _ordered(boxes: np.ndarray) -> np.ndarray:
    """Corners with the smaller one first: NonMaxSuppression takes any two that face each other."""
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
