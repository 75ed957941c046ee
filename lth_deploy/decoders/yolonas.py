"""YOLO-NAS: boxes in pixels of the input and class probabilities of each cell."""

from functools import partial

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature

LIMITS = Limits(score=0.01, iou=0.7, candidates=1000, one_class=True)
STRIDES = (8, 16, 32)


class YoloNas:
    """The image is letterboxed to at most 636 pixels."""

    name = "yolonas"
    outputs = ("boxes [1, N, 4] and scores [1, N, C] of N cells of strides 8, 16, 32",)

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.YOLO_NAS)
        if isinstance(setting, str):
            return setting
        cells = setting.cells(*STRIDES)
        outputs = [output for output in signature.outputs if output.is_float and output.fits(1, cells, None)]
        recorded = hints.options.get("box_output")
        boxes = [output for output in outputs if output.fits(1, cells, 4) and recorded in (None, output.name)]
        if len(outputs) != 2 or len(signature.outputs) != 2 or not boxes:
            return f"it has no two outputs for the {cells} cells of strides 8, 16, 32"
        scores = next(output for output in outputs if output is not boxes[0])
        classes = classes_of(hints.names, scores.size(2), str(scores))
        read = partial(_pair, boxes[0].name, scores.name, cells)
        options = {"box_output": boxes[0].name}
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names, options)


def _pair(box: str, score: str, cells: int, outputs: Arrays, where: Placement) -> Proposals:
    return Proposals(checked(outputs, box, 1, cells, 4)[0], checked(outputs, score, 1, cells, None)[0])
