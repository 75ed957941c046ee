"""PicoDet and PP-YOLOE: boxes in pixels of the input and class probabilities, or what Paddle's suppression leaves."""

from functools import partial

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Read, Setting, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, checked_rows, class_numbers
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature

PICODET_LIMITS = Limits(score=0.025, iou=0.6, candidates=4000, in_image=True)
PPYOLOE_LIMITS = Limits(score=0.01, iou=0.7, candidates=1024)
SUPPRESSED_LIMITS = Limits(score=0.001, iou=None)

Strides = tuple[int, ...]


class Paddle:
    """strides: of the grids whose cells propose boxes, which tells both families apart.

    Option `box_output`: the output with the boxes. Option `scores`: whether their cells come first or last.
    """

    def __init__(self, name: str, strides: Strides, limits: Limits) -> None:
        self.name = name
        self.strides = strides
        self.limits = limits
        text = ", ".join(map(str, strides))
        self.outputs = (
            f"boxes [1, N, 4] and scores [1, C, N] or [1, N, C] of N cells of strides {text}",
            "[1, N, 4 + C]: both in one",
            "[M, 6] and a count: class, score and box, with an input scale_factor",
        )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.IMAGENET)
        if isinstance(setting, str):
            return setting
        cells = setting.cells(*self.strides)
        outputs = [output for output in signature.outputs if output.is_float]
        rows = [output for output in outputs if output.fits(None, 6)]
        if rows and any(tensor.name == "scale_factor" for tensor in signature.inputs):
            read = partial(_suppressed, rows[0].name)
            return BoxDecoder(setting.image, setting.preprocessing, read, SUPPRESSED_LIMITS, hints.names)
        recorded = hints.options.get("box_output")
        boxes = [output for output in outputs if output.fits(1, cells, 4) and recorded in (None, output.name)]
        if len(outputs) == len(signature.outputs) == 2 and boxes:
            other = next(output for output in outputs if output is not boxes[0])
            if not other.fits(1, cells, None) and not other.fits(1, None, cells):
                return f"output {other} has no scores for {cells} boxes"
            mapped = any(tensor.name == "scale_factor" for tensor in signature.inputs)
            last = other.fits(1, None, cells) and not other.fits(1, cells, None)
            last = hints.options.get("scores", "last" if last else "first") == "last"
            count = other.size(1) if last else other.size(2)
            read = partial(_pair, boxes[0].name, other.name, cells, last, mapped)
            options = {"box_output": boxes[0].name, "scores": "last" if last else "first"}
            return self._decoder(setting, hints, count, str(other), read, options)
        joined = len(self.strides) > 3 or self.name in hints.families  # RTMDet's are of three strides as well
        if joined and len(signature.outputs) == 1 and len(outputs) == 1 and outputs[0].fits(1, cells, None):
            columns = outputs[0].size(2)
            if columns is None or columns > 4:
                read = partial(_joined, outputs[0].name, cells, columns)
                count = None if columns is None else columns - 4
                return self._decoder(setting, hints, count, str(outputs[0]), read, {})
        return f"it has no boxes for the {cells} cells of strides {', '.join(map(str, self.strides))}"

    def _decoder(
        self,
        setting: Setting,
        hints: Hints,
        count: int | None,
        output: str,
        read: Read,
        options: dict[str, str],
    ) -> BoxDecoder:
        classes = classes_of(hints.names, count, output)
        return BoxDecoder(setting.image, setting.preprocessing, read, self.limits, classes.names, options)


PICODET = Paddle("picodet", (8, 16, 32, 64), PICODET_LIMITS)
PPYOLOE = Paddle("ppyoloe", (8, 16, 32), PPYOLOE_LIMITS)


def _suppressed(name: str, outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, name, None, 6)
    return Proposals(values[:, 2:], values[:, 1], class_numbers(values[:, 0]), mapped=True)


def _pair(box: str, score: str, cells: int, last: bool, mapped: bool, outputs: Arrays, where: Placement) -> Proposals:
    boxes = checked(outputs, box, 1, cells, 4)[0]
    scores = checked(outputs, score, 1, None, cells)[0].T if last else checked(outputs, score, 1, cells, None)[0]
    return Proposals(boxes, scores, mapped=mapped)


def _joined(name: str, cells: int, columns: int | None, outputs: Arrays, where: Placement) -> Proposals:
    checked(outputs, name, 1, cells, None)
    values = checked_rows(outputs, name, columns, 5)
    return Proposals(values[:, :4], values[:, 4:])
