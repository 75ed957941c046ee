"""Does an exported detector find what the trained one finds?

Element-wise comparison is the wrong question for detectors: rounding lets NMS and top-k swap equals. So boxes
are matched, in both directions, and what is compared is the share that has a twin. Tensors of headless models
have their own, element-wise check.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.detections import Detections, FloatArray

SAME_PIXELS = 0.01


@dataclass(frozen=True)
class ParityLimits:
    """When two detections are the same. Boxes of at most `score_floor` are noise and not compared.

    matched_share: fraction of boxes (and of masks, of points) that must have a twin. minimum_boxes: with
    fewer reference boxes the check proves nothing and fails.
    """

    score_floor: float = 0.05
    box_iou: float = 0.99
    score_difference: float = 1e-3
    mask_iou: float = 0.99
    keypoint_pixels: float = 1.5
    matched_share: float = 0.99
    minimum_boxes: int = 1


@dataclass(frozen=True)
class OutputParity:
    """One output: how many of its values agree, and the first image where the worst one does not."""

    agreeing: int
    total: int
    worst_deviation: float = 0.0
    worst_image: str = ""

    @property
    def share(self) -> float:
        """Fraction that agrees; 1 when there was nothing to compare."""
        return self.agreeing / self.total if self.total else 1.0


@dataclass(frozen=True)
class ParityReport:
    """Verdict over all images; `worst` names the output that agrees least, '' when all agree."""

    passed: bool
    worst: str
    compared: int
    outputs: dict[str, OutputParity] = field(default_factory=dict)

    def describe(self) -> str:
        """One line for a log or an error message."""
        if not self.compared:
            return "nothing was compared: the reference found no boxes above the score floor"
        if not self.worst:
            return f"all {self.compared} compared values agree"
        output = self.outputs[self.worst]
        return (
            f"worst output '{self.worst}': {output.agreeing} of {output.total} agree ({output.share:.2%}), "
            f"largest deviation {output.worst_deviation:.3g} on image {output.worst_image}"
        )


def compare_detections(
    pairs: Iterable[tuple[str | int, Detections, Detections]], limits: ParityLimits | None = None
) -> ParityReport:
    """Judge (image name, reference, candidate) triples, consumed one at a time because masks are large."""
    check = ParityCheck(limits or ParityLimits())
    for image, reference, candidate in pairs:
        check.add(image, reference, candidate)
    return check.report()


class ParityCheck:
    """Collects one image after the other; `report()` gives the verdict so far."""

    def __init__(self, limits: ParityLimits) -> None:
        self.limits = limits
        self._agreeing: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._worst: dict[str, tuple[float, str]] = {}
        self._reference_boxes = 0

    def add(self, image: str | int, reference: Detections, candidate: Detections) -> None:
        """Compare one image."""
        name, limits = str(image), self.limits
        expected = reference.above(np.nextafter(np.float32(limits.score_floor), np.float32(1)))
        self._reference_boxes += len(expected)
        matched = self._match(name, expected, candidate)
        self._compare_masks(name, expected, candidate, matched)
        self._compare_keypoints(name, expected, candidate, matched)
        # The other direction: a candidate must not have extra boxes. A margin excludes boxes that rounding
        # lifted over the floor.
        invented = candidate.above(limits.score_floor + limits.score_difference)
        for position in range(len(invented)):
            twin, deviation = self._twin_exists(invented, position, reference)
            self._count("extra boxes", twin, deviation, name)

    def report(self) -> ParityReport:
        """The verdict over all images added."""
        outputs = {
            output: OutputParity(self._agreeing[output], total, *self._worst.get(output, (0.0, "")))
            for output, total in self._total.items()
        }
        worst = min(outputs, key=lambda output: outputs[output].share, default="")
        if not worst or outputs[worst].share == 1.0:
            worst = ""
        passed = self._reference_boxes >= self.limits.minimum_boxes and all(
            output.share >= self.limits.matched_share for output in outputs.values()
        )
        return ParityReport(passed, worst, sum(self._total.values()), outputs)

    def _count(self, output: str, agrees: bool, deviation: float, image: str, *, number: int = 1) -> None:
        self._total[output] += number
        self._agreeing[output] += number if agrees else 0
        if not agrees and deviation >= self._worst.get(output, (-1.0, ""))[0]:
            self._worst[output] = (deviation, image)

    def _match(self, image: str, expected: Detections, candidate: Detections) -> list[tuple[int, int]]:
        """Pairs of positions whose boxes are twins; counts 'boxes', and of those 'labels' and 'scores'."""
        pairs = []
        free = np.ones(len(candidate), bool)
        overlaps = box_iou(expected.boxes, candidate.boxes)
        for position in range(len(expected)):
            near = (overlaps[position] >= self.limits.box_iou) & free
            best = float(overlaps[position].max(initial=0.0))
            self._count("boxes", bool(near.any()), 1.0 - best, image)
            if not near.any():
                continue
            difference = np.abs(candidate.scores - expected.scores[position])
            same = near & (candidate.labels == expected.labels[position])
            self._count("labels", bool(same.any()), 1.0, image)
            if not same.any():
                continue
            twin = int(np.argmin(np.where(same, difference, np.inf)))
            free[twin] = False
            deviation = float(difference[twin])
            self._count("scores", deviation <= self.limits.score_difference, deviation, image)
            pairs.append((position, twin))
        return pairs

    def _twin_exists(self, found: Detections, position: int, reference: Detections) -> tuple[bool, float]:
        overlaps = box_iou(found.boxes[position : position + 1], reference.boxes)[0]
        same = reference.labels == found.labels[position]
        best = float(np.where(same, overlaps, 0.0).max(initial=0.0))
        return best >= self.limits.box_iou, 1.0 - best

    def _compare_masks(
        self, image: str, expected: Detections, candidate: Detections, matched: list[tuple[int, int]]
    ) -> None:
        if expected.masks is None:
            return
        for place, twin in matched:
            overlap, differing = 0.0, expected.masks[place].size
            if candidate.masks is not None and candidate.masks.shape[1:] == expected.masks.shape[1:]:
                overlap, differing = _compare_mask(
                    expected.masks[place], candidate.masks[twin], self.limits.score_difference
                )
            # In a mask of fewer than a hundred pixels a single one is more than a per cent.
            agrees = overlap >= self.limits.mask_iou or differing <= 1
            self._count("masks", agrees, 1.0 - overlap, image)

    def _compare_keypoints(
        self, image: str, expected: Detections, candidate: Detections, matched: list[tuple[int, int]]
    ) -> None:
        if expected.keypoints is None:
            return
        for place, twin in matched:
            points = expected.keypoints[place, :, :2]
            if candidate.keypoints is None or candidate.keypoints[twin, :, :2].shape != points.shape:
                self._count("keypoints", False, float("inf"), image, number=len(points))
                continue
            for distance in np.linalg.norm(points - candidate.keypoints[twin, :, :2], axis=1):
                near = bool(distance <= self.limits.keypoint_pixels)
                self._count("keypoints", near, float(distance), image)


def compare_tensors(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    tolerance: float = 1e-4,
    image: str | int = "",
) -> ParityReport:
    """Element-wise verdict on raw outputs: |a - b| <= tolerance * max(1, largest |a|), same shapes.

    NaN equals NaN in the same place only; the report's deviation is relative to the output's largest value.
    """
    outputs = {}
    for name, expected in reference.items():
        actual = candidate.get(name)
        if actual is None or actual.shape != expected.shape or actual.dtype != expected.dtype:
            outputs[name] = OutputParity(0, max(expected.size, 1), float("inf"), str(image))
            continue
        deviation = relative_deviation(expected, actual)
        agreeing = int(np.count_nonzero(deviation <= tolerance))
        outputs[name] = OutputParity(agreeing, expected.size, float(deviation.max(initial=0.0)), str(image))
    failed = [name for name, output in outputs.items() if output.share < 1.0]
    worst = max(failed, key=lambda name: outputs[name].worst_deviation, default="")
    return ParityReport(not failed, worst, sum(output.total for output in outputs.values()), outputs)


def relative_deviation(expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|a - b| / max(1, largest |a|) of each element of two arrays of one shape; infinite where NaN is in one only."""
    if not np.issubdtype(expected.dtype, np.floating):
        return np.where(expected == actual, 0.0, np.inf)
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.abs(a[np.isfinite(a)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b) / scale
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def box_iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Intersection over union [N, M] of boxes x1, y1, x2, y2; boxes with equal corners overlap fully.

    Corners within `SAME_PIXELS` are equal: to a sliver on the image's border, rounding is a large share of its area.
    """
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(a) + _area(b) - intersection
    equal = np.abs(a - b).max(axis=-1) <= SAME_PIXELS
    ratio = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return np.where(equal, 1.0, ratio).astype(np.float32)


def _area(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    area: np.ndarray[Any, Any] = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area


def _compare_mask(reference: FloatArray, candidate: FloatArray, tolerance: float) -> tuple[float, int]:
    """IoU of two masks cut at 0.5, and how many pixels differ.

    Probabilities within `tolerance` are the same, on whichever side of the cut they fall.
    """
    first = reference >= 0.5
    second = np.where(np.abs(candidate - reference) <= tolerance, first, candidate >= 0.5)
    union, common = int(np.count_nonzero(first | second)), int(np.count_nonzero(first & second))
    return (common / union if union else 1.0), union - common
