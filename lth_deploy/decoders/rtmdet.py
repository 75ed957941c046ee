"""RTMDet: decoded boxes and class probabilities, or what mmdeploy's suppression leaves."""

from functools import partial

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, Setting, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, checked_rows, class_numbers
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.class_names import classes_of
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature

LIMITS = Limits(score=0.001, iou=0.65)
SUPPRESSED_LIMITS = Limits(score=0.001, iou=None)
STRIDES = (8, 16, 32)


class RtmDet:
    """Boxes are corners in pixels of the input. The image is BGR in the top left corner, as mmdetection has it."""

    name = "rtmdet"
    outputs = (
        "[1, N, 4 + C]: boxes and class probabilities of N cells of strides 8, 16, 32",
        "dets [1, K, 5] and labels [1, K] of mmdeploy",
    )

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.RTMDET)
        if isinstance(setting, str):
            return setting
        found, labels = signature.output("dets"), signature.output("labels")
        if found is not None and labels is not None and found.fits(1, None, 5) and labels.fits(1, None):
            return BoxDecoder(setting.image, setting.preprocessing, _suppressed, SUPPRESSED_LIMITS, hints.names)
        return self._cells(signature, hints, setting)

    def _cells(self, signature: Signature, hints: Hints, setting: Setting) -> BoxDecoder | str:
        cells = setting.cells(*STRIDES)
        if len(signature.outputs) != 1 or not signature.outputs[0].fits(1, cells, None):
            return f"it has not one output with a row for each of the {cells} cells of strides 8, 16, 32"
        output = signature.outputs[0]
        columns = output.size(2)
        if not output.is_float or (columns is not None and columns < 5):
            return f"output {output} has no scores behind its boxes"
        classes = classes_of(hints.names, None if columns is None else columns - 4, str(output))
        read = partial(_joined, output.name, cells, columns)
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, classes.names)


def _joined(name: str, cells: int, columns: int | None, outputs: Arrays, where: Placement) -> Proposals:
    checked(outputs, name, 1, cells, None)
    values = checked_rows(outputs, name, columns, 5)
    return Proposals(values[:, :4], values[:, 4:])


def _suppressed(outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, "dets", 1, None, 5)[0]
    labels = checked(outputs, "labels", 1, len(values))[0]
    return Proposals(values[:, :4], values[:, 4], class_numbers(labels))
