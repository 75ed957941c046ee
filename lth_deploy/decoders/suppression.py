"""Greedy class-wise non-maximum suppression for decoders whose model leaves it to the program."""

import numpy as np
import numpy.typing as npt


def suppress(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    iou: float,
) -> npt.NDArray[np.intp]:
    """Positions of the boxes that survive, best score first.

    A box goes when one of its class with a higher score overlaps it by more than `iou`.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float64)
    classes = labels[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), bool)
    for position in range(len(order)):
        if not alive[position]:
            continue
        rest = np.flatnonzero(alive[position + 1 :] & (classes[position + 1 :] == classes[position]))
        rest += position + 1
        low = np.maximum(boxes[position, :2], boxes[rest, :2])
        high = np.minimum(boxes[position, 2:], boxes[rest, 2:])
        sides = np.clip(high - low, 0, None)
        intersection = sides[:, 0] * sides[:, 1]
        union = areas[position] + areas[rest] - intersection
        alive[rest[intersection > iou * union]] = False
    kept: npt.NDArray[np.intp] = order[alive]
    return kept
