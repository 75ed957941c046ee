"""How many of one model's detections another one finds too: what can be said of a model without annotations."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lth_deploy.detections import Detections
from lth_deploy.measure.parity import box_iou

SCORE, IOU = 0.3, 0.5
"""Detections with at least this score are looked for; one with the same label and at least this IoU is a match."""

LEAST_MATCHED, MOST_EXTRA, LEAST_IOU, MOST_SCORE_LOST = 0.9, 0.1, 0.85, 0.05
"""Bounds of an agreement that is not poor: shares of the reference's detections, means over the matches."""


@dataclass(frozen=True)
class Agreement:
    """What a candidate finds of what a reference finds, and what it finds besides.

    reference: detections of the reference with a score of at least `SCORE`, of which `matched` have a match. extra:
    detections of the candidate with at least this score that have none among all of the reference. iou,
    score_difference: means over the matches, the latter candidate minus reference; 0 without matches.
    """

    images: int
    reference: int
    matched: int
    extra: int
    iou: float
    score_difference: float

    @property
    def share(self) -> float:
        """Matched ones among the reference's; 0 of nothing."""
        return self.matched / self.reference if self.reference else 0.0

    @property
    def poor(self) -> bool:
        """Whether the candidate finds so much else that its AP is in doubt; False where the reference finds nothing."""
        return self.reference > 0 and (
            self.share < LEAST_MATCHED
            or self.extra > MOST_EXTRA * self.reference
            or self.iou < LEAST_IOU
            or self.score_difference < -MOST_SCORE_LOST
        )

    def describe(self) -> str:
        """The figures in one clause."""
        if not self.reference:
            return f"no detection of the dense model on {self.images} images has a score of {SCORE:g} or more"
        return (
            f"{self.matched} of {self.reference} detections of the dense model ({self.share:.1%}) have a match, mean "
            f"IoU {self.iou:.3f}, mean difference of scores {self.score_difference:+.3f}; {self.extra} others"
        )

    def as_record(self) -> dict[str, Any]:
        """Plain values, rounded to 6 decimals."""
        return {name: round(value, 6) for name, value in (asdict(self) | {"share": self.share}).items()}


def agreement(pairs: Iterable[tuple[Detections, Detections]]) -> Agreement:
    """Match the detections of a reference and of a candidate, image by image.

    Those with a score of at least `SCORE` choose one after the other, the best score first; each takes, of the other
    side's with its label and an IoU of at least `IOU` that are left, the one with the largest IoU, whatever its score.
    So one that comes near the threshold counts for neither side.
    """
    images = reference = extra = 0
    overlaps: list[float] = []
    differences: list[float] = []
    for expected, found in pairs:
        images += 1
        wanted = expected.above(SCORE)
        reference += len(wanted)
        matches = _matches(wanted, found)
        overlaps += [overlap for _, _, overlap in matches]
        differences += [float(found.scores[twin] - wanted.scores[place]) for place, twin, _ in matches]
        claimed = found.above(SCORE)
        extra += len(claimed) - len(_matches(claimed, expected))
    means = [float(np.mean(values)) if values else 0.0 for values in (overlaps, differences)]
    return Agreement(images, reference, len(overlaps), extra, means[0], means[1])


def _matches(wanted: Detections, found: Detections) -> list[tuple[int, int, float]]:
    """Place of a detection, place of its match, and their IoU."""
    overlaps = box_iou(wanted.boxes, found.boxes)
    free = np.ones(len(found), bool)
    matches = []
    for place in np.argsort(-wanted.scores, kind="stable"):
        fits = np.where(free & (found.labels == wanted.labels[place]), overlaps[place], 0.0)
        twin = int(np.argmax(fits)) if len(fits) else 0
        if len(fits) and fits[twin] >= IOU:
            free[twin] = False
            matches.append((int(place), twin, float(fits[twin])))
    return matches
