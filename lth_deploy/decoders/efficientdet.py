"""EfficientDet: the candidates with the best scores, decoded but not suppressed."""

from functools import partial

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.decoder import BoxDecoder, find_setting
from lth_deploy.decoders.boxes.selection import Limits, Proposals, checked, class_numbers
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Placement
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature

LIMITS = Limits(score=0.001, iou=0.5, in_image=True)
_FEWEST_ROWS = 1001


class EfficientDet:
    """Rows of x1, y1, x2, y2 in pixels of the input, score, class; class -1 is none."""

    name = "efficientdet"
    outputs = ("[1, 5000, 6]: x1, y1, x2, y2, score and class of each candidate",)

    def fit(self, signature: Signature, hints: Hints) -> BoxDecoder | str:
        """See `Family`."""
        setting = find_setting(signature, hints, usual.EFFICIENTDET, (512, 512))
        if isinstance(setting, str):
            return setting
        outputs = signature.outputs
        if len(outputs) != 1 or not outputs[0].is_float or not outputs[0].fits(1, None, 6):
            return "it is not one output with rows of 6 numbers"
        count = outputs[0].size(1)
        if "efficientdet" not in hints.families and (count is None or count < _FEWEST_ROWS):
            return "its rows are too few for candidates"
        read = partial(_rows, outputs[0].name)
        return BoxDecoder(setting.image, setting.preprocessing, read, LIMITS, hints.names)


def _rows(name: str, outputs: Arrays, where: Placement) -> Proposals:
    values = checked(outputs, name, 1, None, 6)[0]
    labels = class_numbers(values[:, 5])
    rows = np.flatnonzero(labels >= 0)
    return Proposals(values[rows, :4], values[rows, 4], labels[rows])
