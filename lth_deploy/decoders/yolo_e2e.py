"""YOLO that proposes each object once, or suppresses in its graph: rows of box, score and class."""

from functools import partial

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, class_numbers
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature

LIMITS = Limits(score=0.001, iou=None)
_MOST_ROWS = 1000


class YoloEndToEnd:
    """Rows of x1, y1, x2, y2 in pixels of the input, score, class; rows without an object score 0."""

    name = "yolo-e2e"
    outputs = ("[1, 300, 6]: x1, y1, x2, y2, score and class of each object",)

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.YOLO)
        if isinstance(setting, str):
            return setting
        named = hints.families == (self.name,)
        rows = [output for output in signature.outputs if output.is_float and output.fits(1, None, 6)]
        rows = [output for output in rows if named or output.size(2) == 6]
        if len(rows) != 1 or len(signature.outputs) != 1:
            return "it is not one output with rows of 6 numbers"
        count = rows[0].size(1)
        if count is not None and count > _MOST_ROWS:
            return f"{count} rows are too many for objects alone"
        read = partial(_rows, rows[0].name)
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, hints.names)


def _rows(name: str, outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, name, 1, None, 6)[0]
    return Proposals(values[:, :4], values[:, 4], class_numbers(values[:, 5]))
