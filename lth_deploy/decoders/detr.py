"""DETR and its successors: a fixed number of queries, each a box and scores of all classes, without suppression."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import (
    Limits,
    Proposals,
    checked,
    checked_rows,
    class_numbers,
    corners,
    probabilities,
    softmax,
)
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import Classes, classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType

LIMITS = Limits(score=0.001, iou=None)
"""The best of all pairs of query and class, as RT-DETR and its successors."""

SOFTMAX_LIMITS = Limits(score=0.001, iou=None, one_class=True)
"""One class of each query, as the first DETR."""

_GRIDS = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32))
_TARGET_SIZES = ("orig_target_sizes", "orig_target_size")


class Detr:
    """Boxes are center and size, on a scale of 0 to 1 over the input. The image is stretched to it.

    Option `scores` softmax: the last class is none, as in the first DETR; probabilities: the graph has the logistic
    function already; else logits.
    """

    name = "detr"
    outputs = (
        "logits [1, Q, C] and boxes [1, Q, 4] of Q queries",
        "labels [1, Q], boxes [1, Q, 4] and scores [1, Q], with an input orig_target_sizes",
        "[1, Q, 4 + C]: both in one, of ultralytics' RT-DETR",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.STRETCHED)
        if isinstance(setting, str):
            return setting
        if any(tensor.name in _TARGET_SIZES for tensor in signature.inputs):
            return _of_image(signature, hints, setting)
        outputs = [output for output in signature.outputs if output.is_float and output.fits(1, None, None)]
        if len(outputs) == 1 and "detr" in hints.families:
            return _in_one(outputs[0], hints, setting)
        box = _boxes(outputs, hints)
        if len(outputs) != 2 or len(signature.outputs) != 2 or box is None:
            return "it has not two outputs, one of which has rows of 4 numbers"
        logits = next(output for output in outputs if output is not box)
        queries, count = box.size(1), logits.size(2)
        if None not in (queries, logits.size(1)) and queries != logits.size(1):
            return f"outputs {box} and {logits} have another number of rows"
        if queries in [setting.cells(*grid) for grid in _GRIDS] and "detr" not in hints.families:
            return f"{queries} rows are the cells of a grid, not queries"
        kind = hints.options.get("scores") or ("softmax" if _ends_in_none(count, hints) else "logits")
        classes = _classes(hints.names, count, kind, str(logits))
        if hints.preprocessing is None and (kind == "softmax" or classes.columns is not None):
            again = find_setting(signature, hints, usual.IMAGENET)
            assert isinstance(again, Setting)
            setting = again
        return BoxDecoder(
            setting.image,
            setting.preprocessing,
            partial(_queries, box.name, logits.name, count, kind, classes.columns),
            SOFTMAX_LIMITS if kind == "softmax" else LIMITS,
            classes.names,
            {"scores": kind, "box_output": box.name},
        )


def _boxes(outputs: list[TensorType], hints: Hints) -> TensorType | None:
    """Which of the outputs has the boxes."""
    recorded = hints.options.get("box_output")
    fitting = [output for output in outputs if output.fits(1, None, 4)]
    named = [output for output in fitting if output.name == recorded or (recorded is None and "box" in output.name)]
    sized = [output for output in fitting if output.size(2) == 4]
    return next(iter([*named, *sized]), None)


def _ends_in_none(count: int | None, hints: Hints) -> bool:
    """Whether the last column is for no object: there is one more than names, or as many as DETR has for COCO."""
    if hints.names is None or (count == 92 and len(hints.names) == 80):
        return count == 92
    return count == len(hints.names) + 1


def _classes(names: tuple[str, ...] | None, count: int | None, kind: str, output: str) -> Classes:
    if kind != "softmax" or count is None:
        return classes_of(names, count, output)
    return classes_of(names, count - 1, output)


def _queries(
    box: str,
    logits: str,
    count: int | None,
    kind: str,
    columns: tuple[int, ...] | None,
    outputs: Arrays,
    where: Placement,
) -> Proposals:
    values = checked(outputs, logits, 1, None, count)[0]
    boxes = checked(outputs, box, 1, len(values), 4)[0]
    scores = softmax(values)[:, :-1] if kind == "softmax" else probabilities(values) if kind == "logits" else values
    if columns is not None:
        scores = scores[:, list(columns)]
    return Proposals(_pixels(boxes, where), scores)


def _pixels(boxes: np.ndarray, where: Placement) -> np.ndarray:
    sides = np.array([where.input_width, where.input_height] * 2, np.float32)
    return corners(boxes.astype(np.float32) * sides)


def _in_one(output: TensorType, hints: Hints, setting: Setting) -> BoxDecoder | str:
    columns = output.size(2)
    if columns is not None and columns < 5:
        return f"output {output} has no scores behind its boxes"
    classes = classes_of(hints.names, None if columns is None else columns - 4, str(output))
    read = partial(_joined, output.name, columns)
    options = {"scores": "probabilities"}
    return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names, options)


def _joined(name: str, columns: int | None, outputs: Arrays, where: Placement) -> Proposals:
    values = checked_rows(outputs, name, columns, 5)
    return Proposals(_pixels(values[:, :4], where), values[:, 4:])


def _of_image(signature: Signature, hints: Hints, setting: Setting) -> BoxDecoder | str:
    absent = [name for name in ("labels", "boxes", "scores") if signature.output(name) is None]
    if absent:
        return f"it has an input for the size of the image, but no output '{absent[0]}'"
    return BoxDecoder(setting.image, setting.preprocessing, _finished, LIMITS, hints.names)


def _finished(outputs: Arrays, where: Placement) -> Proposals:
    """Boxes that the graph has in pixels of the image, from the size that it was given."""
    scores = checked(outputs, "scores", 1, None)[0]
    boxes = checked(outputs, "boxes", 1, len(scores), 4)[0]
    labels = checked(outputs, "labels", 1, len(scores))[0]
    return Proposals(boxes, scores, class_numbers(labels), mapped=True)
