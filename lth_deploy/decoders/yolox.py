"""YOLOX: boxes relative to the cells of its grids, objectness and classes."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import FloatArray, Limits, Proposals, checked, checked_rows, corners
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, shape_text

LIMITS = Limits(score=0.001, iou=0.65, one_class=True)
"""Those of YOLOX' evaluation, with a lower score."""

STRIDES = (8, 16, 32)


class Yolox:
    """Option `boxes`: `offsets` from each cell, and logarithms of sizes, both in strides; or `decoded` in pixels."""

    name = "yolox"
    outputs = ("[1, N, 5 + C]: box, objectness and C class probabilities of each cell of strides 8, 16 and 32",)

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.YOLOX)
        if isinstance(setting, str):
            return setting
        if len(signature.outputs) != 1 or not signature.outputs[0].fits(1, None, None):
            return "it is not one output of 3 dimensions"
        output, cells = signature.outputs[0], setting.cells(*STRIDES)
        count, columns = output.size(1), output.size(2)
        if count not in (None, cells):
            size = shape_text((setting.image.height, setting.image.width))
            return f"the strides 8, 16 and 32 have {cells} cells on an input of {size}, not {count}"
        if not output.is_float or (columns is not None and columns < 6):
            return "its rows are too short, or no floats"
        classes = classes_of(hints.names, None if columns is None else columns - 5, str(output))
        decoded = hints.options.get("boxes") == "decoded"
        read = partial(_boxes, output.name, (1, cells, columns), None if decoded else _grid(setting))
        options = {"boxes": "decoded" if decoded else "offsets"}
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names, options)


def _grid(setting: Setting) -> tuple[FloatArray, FloatArray]:
    """Column and row [N, 2], and the stride [N, 1], of each cell."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = -(-setting.image.height // stride), -(-setting.image.width // stride)
        row, column = np.divmod(np.arange(rows * columns), columns)
        places.append(np.stack([column, row], axis=1).astype(np.float32))
        strides.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(places), np.concatenate(strides)


def _boxes(
    name: str,
    shape: tuple[int | None, ...],
    grid: tuple[FloatArray, FloatArray] | None,
    outputs: Arrays,
    where: Placement,
) -> Proposals:
    checked(outputs, name, *shape)
    values = checked_rows(outputs, name, shape[2], 6).astype(np.float32, copy=False)
    scores = values[:, 4:5] * values[:, 5:]
    if grid is None:
        return Proposals(corners(values[:, :4]), scores)
    places, strides = grid
    centers = (values[:, :2] + places) * strides
    with np.errstate(over="ignore"):  # a size that is no number counts only where the score does
        sizes = np.exp(values[:, 2:4]) * strides
    return Proposals(corners(np.concatenate([centers, sizes], axis=1)), scores)
