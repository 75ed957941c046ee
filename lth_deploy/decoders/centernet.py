"""CenterNet: objects are peaks of a heatmap, their sizes and offsets stand beside."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import FloatArray, Limits, Proposals, checked, class_numbers, probabilities
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType

LIMITS = Limits(score=0.001, iou=None, most=100)
STRIDE = 4
_OFFSETS = ("reg", "off", "offset")


class CenterNet:
    """Positions count from the middle of the first pixel, as the affine transform of CenterNet's own code."""

    name = "centernet"
    outputs = (
        "hm [1, C, H/4, W/4], wh [1, 2, H/4, W/4] and reg [1, 2, H/4, W/4]",
        "[1, 100, 6]: x1, y1, x2, y2, score and class of each peak, where the metadata say that it is CenterNet",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.CENTERNET, (512, 512))
        if isinstance(setting, str):
            return setting
        outputs = signature.outputs
        if "centernet" in hints.families and len(outputs) == 1 and outputs[0].fits(1, None, 6):
            read = partial(_rows, outputs[0].name)
            return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, hints.names)
        rows, columns = setting.image.height // STRIDE, setting.image.width // STRIDE
        maps = [output for output in outputs if output.is_float and output.fits(1, None, rows, columns)]
        if len(maps) != 3 or len(outputs) != 3:
            return f"it has not three maps of {rows}x{columns}"
        heat, sizes, offsets = _roles(maps)
        if not sizes.fits(1, 2, rows, columns) or not offsets.fits(1, 2, rows, columns):
            return f"outputs {sizes} and {offsets} have not 2 numbers for each place"
        classes = classes_of(hints.names, heat.size(1), str(heat))
        names = (heat.name, sizes.name, offsets.name)
        read = partial(_peaks, names, setting, heat.size(1))
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names)


def _roles(maps: list[TensorType]) -> tuple[TensorType, TensorType, TensorType]:
    """Heatmap, sizes and offsets: by their names, else in this order."""
    offsets = next((one for one in maps if one.name.lower().startswith(_OFFSETS)), None)
    sizes = next((one for one in maps if one.name.lower().startswith(("wh", "size"))), None)
    if offsets is None or sizes is None:
        return maps[0], maps[1], maps[2]
    return next(one for one in maps if one is not offsets and one is not sizes), sizes, offsets


def _peaks(
    names: tuple[str, str, str], setting: Setting, count: int | None, outputs: Arrays, where: Placement
) -> Proposals:
    rows, columns = setting.image.height // STRIDE, setting.image.width // STRIDE
    heat = checked(outputs, names[0], 1, count, rows, columns)[0].astype(np.float32)
    sizes, offsets = (checked(outputs, name, 1, 2, rows, columns)[0] for name in names[1:])
    if heat.size and (heat.min() < 0 or heat.max() > 1):  # exports with and without the logistic function are about
        heat = probabilities(heat)
    label, row, column = np.nonzero((heat == _maxima(heat)) & (heat > LIMITS.score) | np.isnan(heat))
    center = np.stack([column + offsets[0, row, column], row + offsets[1, row, column]], axis=1)
    half = np.stack([sizes[0, row, column], sizes[1, row, column]], axis=1) / 2
    boxes = np.concatenate([center - half, center + half], axis=1).astype(np.float32) * STRIDE
    return Proposals(boxes, heat[label, row, column], label.astype(np.int64))


def _maxima(heat: FloatArray) -> FloatArray:
    """The largest of the 3x3 values around each."""
    framed = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    lines = np.maximum(np.maximum(framed[:, :-2], framed[:, 1:-1]), framed[:, 2:])
    found: FloatArray = np.maximum(np.maximum(lines[..., :-2], lines[..., 1:-1]), lines[..., 2:])
    return found


def _rows(name: str, outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, name, 1, None, 6)[0]
    return Proposals(values[:, :4], values[:, 4], class_numbers(values[:, 5]))
