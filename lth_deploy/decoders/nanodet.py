"""NanoDet: for each stride class scores, and distances to the four sides as distributions over bins."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import FloatArray, Limits, Proposals, checked, softmax
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, shape_text
from lth_deploy.errors import ArtifactError

# One class a cell, and bicubic scaling: chosen because together they reproduce the AP that NanoDet-g was measured at
# before, .335. Other scalings gave up to .346 on the same photos.
LIMITS = Limits(score=0.05, iou=0.6, most=100, candidates=1 << 20, one_class=True, in_image=True)


class NanoDet:
    """Outputs cls{s} [1, n, C], probabilities, and reg{s} [1, n, 4 x bins] for each stride s of some."""

    name = "nanodet"
    outputs = ("cls{s} [1, n, C] and reg{s} [1, n, 4 x bins] for the n cells of each stride s",)

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.NANODET, (416, 416))
        if isinstance(setting, str):
            return setting
        names = {output.name for output in signature.outputs}
        strides = sorted(int(name[3:]) for name in names if name[:3] == "cls" and name[3:] in _STRIDES)
        if not strides or names != {f"{kind}{stride}" for kind in ("cls", "reg") for stride in strides}:
            return "its outputs are not called cls8, cls16, ... and reg8, reg16, ..."
        shapes: dict[str, tuple[int | None, ...]] = {}
        first, other = signature.output(f"cls{strides[0]}"), signature.output(f"reg{strides[0]}")
        assert first is not None
        assert other is not None
        if not first.fits(1, None, None) or not other.fits(1, None, None):
            return f"output {first} or {other} has not 3 dimensions"
        sides = other.size(2)
        if sides is not None and (sides % 4 or sides < 8):
            return f"output {other} has no bins for four sides"
        for stride in strides:
            shapes[f"cls{stride}"] = (1, setting.cells(stride), first.size(2))
            shapes[f"reg{stride}"] = (1, setting.cells(stride), sides)
        for output in signature.outputs:
            if not output.fits(*shapes[output.name]):
                return f"output {output} has not one row for each cell of its stride"
        classes = classes_of(hints.names, first.size(2), str(first))
        read = partial(_levels, setting, tuple(strides), shapes)
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names)


_STRIDES = ("4", "8", "16", "32", "64", "128")


def _levels(
    setting: Setting,
    strides: tuple[int, ...],
    shapes: dict[str, tuple[int | None, ...]],
    outputs: Arrays,
    where: Placement,
) -> Proposals:
    boxes: list[FloatArray] = []
    scores: list[FloatArray] = []
    for stride in strides:
        found = checked(outputs, f"cls{stride}", *shapes[f"cls{stride}"])[0]
        sides = checked(outputs, f"reg{stride}", *shapes[f"reg{stride}"])[0]
        if sides.shape[1] % 4 or sides.shape[1] < 8 or (scores and scores[0].shape[1] != found.shape[1]):
            raise ArtifactError(
                f"outputs 'cls{stride}' {shape_text(found.shape)} and 'reg{stride}' {shape_text(sides.shape)} have no "
                "classes and bins for four sides as those of other strides; is the decoder the right one?"
            )
        columns = -(-setting.image.width // stride)
        scores.append(found.astype(np.float32, copy=False))
        boxes.append(_distances(sides.astype(np.float32), stride, columns))
    return Proposals(np.concatenate(boxes), np.concatenate(scores))


def _distances(sides: FloatArray, stride: int, columns: int) -> FloatArray:
    """Boxes [n, 4]: distances are the expectation over bins."""
    count, bins = len(sides), sides.shape[1] // 4
    distance = softmax(sides.reshape(count, 4, bins)) @ np.arange(bins, dtype=np.float32) * stride
    row, column = np.divmod(np.arange(count), columns)
    center = np.stack([column, row], axis=1).astype(np.float32) * stride + stride / 2
    boxes: FloatArray = np.concatenate([center - distance[:, :2], center + distance[:, 2:]], axis=1).astype(np.float32)
    return boxes
