"""YOLO without suppression in its graph: ultralytics' v5u, v8 to v12 and v26, and the older form with objectness."""

from dataclasses import replace
from functools import partial

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Read, Setting, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked_columns, checked_rows, corners
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType, shape_text

LIMITS = Limits(score=0.001, iou=0.7)
"""Those of ultralytics' validation."""

OBJECTNESS_LIMITS = Limits(score=0.001, iou=0.6)
"""Those of YOLOv5's validation."""

_MOST_CLASSES = 2000
_GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


class Yolo:
    """Boxes are decoded: center and size in pixels of the input; with option `boxes` corners, their corners.

    Option `suppression` none: the head proposes each object once. Options `output`, `form`: which output, and which of
    both forms, `raw` or `objectness`.
    """

    name = "yolo"
    outputs = (
        "[1, 4 + C, N]: boxes and C class probabilities of N cells",
        "[1, N, 5 + C]: boxes, objectness and C class probabilities of N anchors, three of each cell",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.YOLO)
        if isinstance(setting, str):
            return setting
        found = [(output, form) for output in signature.outputs if (form := _form(output, setting, hints))]
        if len(found) != 1:
            size = shape_text((setting.image.height, setting.image.width))
            return f"{len(found) or 'none'} of its outputs have that shape for an input of {size}"
        output, form = found[0]
        corner = hints.options.get("boxes") == "corners"
        options = {key: hints.options[key] for key in ("boxes", "suppression") if key in hints.options}
        options |= {"output": output.name, "form": form}
        columns = output.size(2 if form == "objectness" else 1)
        others = 5 if form == "objectness" else 4
        classes = classes_of(hints.names, None if columns is None else columns - others, str(output))
        limits = OBJECTNESS_LIMITS if form == "objectness" else LIMITS
        if options.get("suppression") == "none":
            limits = replace(limits, iou=None)
        read: Read = partial(_raw, output.name, columns, corner)
        if form == "objectness":
            read = partial(_with_objectness, output.name, columns)
        return BoxDecoder(setting.image, setting.preprocessing, read, limits, classes.names, options)


def _form(output: TensorType, setting: Setting, hints: Hints) -> str | None:
    """Which of both forms an output has: `raw`, `objectness`, or neither."""
    if not output.is_float or not output.fits(1, None, None):
        return None
    if "form" in hints.options:
        return hints.options["form"] if hints.options.get("output") == output.name else None
    first, last = output.size(1), output.size(2)
    counts = [setting.cells(*grid) for grid in _GRIDS]
    anchors = [3 * count for count in counts]
    raw = last in counts or last in anchors
    if raw and not (first in anchors and (first or 0) > (last or 0)):
        return "raw" if first is None or first > 4 else None
    if first in anchors:
        return "objectness" if last is None or last > 5 else None
    if last is None and first is not None and 4 < first < _MOST_CLASSES:
        return "raw"
    return None


def _raw(name: str, rows: int | None, corner: bool, outputs: Arrays, where: Placement) -> Proposals:
    values = checked_columns(outputs, name, rows, 5)
    boxes = values[:, :4]
    return Proposals(boxes if corner else corners(boxes), values[:, 4:])


def _with_objectness(name: str, columns: int | None, outputs: Arrays, where: Placement) -> Proposals:
    values = checked_rows(outputs, name, columns, 6)
    return Proposals(corners(values[:, :4]), values[:, 4:5] * values[:, 5:])
