"""What a detector says about one image, as numpy arrays: the type that all stages exchange."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detections:
    """N objects found in one image, in pixels of that image, best score first.

    boxes: float32 [N, 4] as x1, y1, x2, y2. scores: float32 [N] in 0..1. labels: int64 [N] in 1..C, the
    position of the category in the model's list of classes, counted from 1.
    masks: float32 [N, H, W], probability that a pixel belongs to the object. keypoints: float32 [N, K, 3]
    as x, y, score.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    masks: FloatArray | None = None
    keypoints: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> "Detections":
        """Those with a score of at least `threshold`."""
        return self.select(np.flatnonzero(self.scores >= threshold))

    def select(self, index: npt.NDArray[np.intp]) -> "Detections":
        """The detections at the positions `index`, in that order."""
        return Detections(
            self.boxes[index],
            self.scores[index],
            self.labels[index],
            None if self.masks is None else self.masks[index],
            None if self.keypoints is None else self.keypoints[index],
        )
