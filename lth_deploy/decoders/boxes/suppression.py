"""Greedy class-wise non-maximum suppression for decoders whose model leaves it to the program."""

import numpy as np
import numpy.typing as npt

_BLOCK = 256
"""Boxes that are compared with each other at once."""

Boxes = npt.NDArray[np.float64]
Classes = npt.NDArray[np.integer]


def suppress(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: Classes,
    iou: float,
    most: int | None = None,
) -> npt.NDArray[np.intp]:
    """Positions of the boxes that survive, best score first; only the first `most` where it is given.

    A box goes when one of its class with a higher score overlaps it by more than `iou`.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(0, np.intp)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        candidates = boxes[block].astype(np.float64)
        alive = ~_overlaps(candidates, labels[block], boxes[kept].astype(np.float64), labels[kept], iou).any(axis=1)
        block, candidates = block[alive], candidates[alive]
        hits = _overlaps(candidates, labels[block], candidates, labels[block], iou)
        alive = np.ones(len(block), bool)
        for position in range(len(block)):
            if alive[position]:
                alive[position + 1 :] &= ~hits[position, position + 1 :]
        kept = np.concatenate([kept, block[alive]])
        if most is not None and len(kept) >= most:
            return kept[:most]
    return kept


def _overlaps(
    first: Boxes, first_labels: Classes, second: Boxes, second_labels: Classes, iou: float
) -> npt.NDArray[np.bool_]:
    """Whether boxes of one class overlap by more than `iou`: [len(first), len(second)]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = _areas(first)[:, None] + _areas(second)[None] - intersection
    found: npt.NDArray[np.bool_] = (intersection > iou * union) & (first_labels[:, None] == second_labels[None])
    return found


def _areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
