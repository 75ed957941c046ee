"""How sure a difference in AP is: a paired bootstrap over images.

Matching is done once per detector. A resample only changes how often each image counts, and because
copies of an image stand next to each other in the ranking, weighting a detection by that count gives exactly
the AP of the resampled data set (a run of hits only raises precision, so the envelope is that of its end).
Only detections of one image with the very same score may rank otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_ap import run_coco
from lth_deploy.evaluation.coco_rows import CompactDetections

_EPSILON = float(np.spacing(1))
_CHUNK = 2_000_000
"""Most elements of an array over draws and detections."""


@dataclass(frozen=True)
class Interval:
    """Central interval of a resampled figure, its mean over the resamples, and how many there were."""

    low: float
    high: float
    mean: float
    confidence: float = 0.95
    samples: int = 0


@dataclass(frozen=True)
class CategoryMatches:
    """Ranked detections of one category: [T, D] hits and misses over T IoU thresholds, best score first.

    image: int [D] position of the image. positives: int [I] objects that count, by image.
    """

    hits: npt.NDArray[np.bool_]
    misses: npt.NDArray[np.bool_]
    image: npt.NDArray[np.intp]
    positives: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """All that the AP over all sizes depends on, in a form that can be resampled by image."""

    categories: tuple[CategoryMatches, ...]
    recalls: npt.NDArray[np.float64]
    n_images: int

    def average_precision(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """AP [S] of S data sets in which image i counts `weights[s, i]` times; NaN where no object counts."""
        total = np.zeros(len(weights))
        present = np.zeros(len(weights))
        for category in self.categories:
            precision = _category_precision(category, weights, self.recalls)
            counts = ~np.isnan(precision)
            total[counts] += precision[counts]
            present += counts
        mean = np.full(len(weights), np.nan)
        mean[present > 0] = total[present > 0] / present[present > 0]
        return mean

    def resampled(self, samples: int, seed: int) -> npt.NDArray[np.float64]:
        """AP of `samples` data sets drawn from the images with replacement; the same draws for equal seeds.

        A draw without any object is NaN.
        """
        return self.average_precision(self.draws(samples, seed))

    def draws(self, samples: int, seed: int) -> npt.NDArray[np.int64]:
        """How often each image is in each of `samples` data sets drawn with replacement, int [S, I]."""
        drawn = np.random.default_rng(seed).integers(0, self.n_images, (samples, self.n_images))
        return np.stack([np.bincount(sample, minlength=self.n_images) for sample in drawn])

    def of_category(self, position: int) -> "Matches":
        """The same for one category alone; `position` counts in the order of category ids."""
        return Matches((self.categories[position],), self.recalls, self.n_images)


def match_detections(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
    kind: str = "bbox",
) -> Matches:
    """Match once with pycocotools and keep what resampling needs.

    Raises:
        DataError: as `evaluate_detections`.
    """
    return rank_matches(run_coco(ground_truth, detections, category_ids, kind))


def rank_matches(evaluation: Any) -> Matches:
    """Keep of a matched COCOeval what resampling needs."""
    params = evaluation.params
    n_areas, n_images = len(params.areaRng), len(params.imgIds)
    categories = []
    for position in range(len(params.catIds)):
        # evalImgs is flat over [category, area, image]; the first area is "all".
        start = position * n_areas * n_images
        categories.append(_rank_category(evaluation.evalImgs[start : start + n_images], params.maxDets[-1]))
    return Matches(tuple(categories), np.asarray(params.recThrs), n_images)


def paired_bootstrap(
    ground_truth: Mapping[str, Any],
    det_a: Mapping[int, Detections | CompactDetections],
    det_b: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
    kind: str = "bbox",
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % interval of AP(a) - AP(b) over data sets drawn from the images with replacement.

    Raises:
        DataError: as `evaluate_detections`, or the data set has no objects to resample.
    """
    first = match_detections(ground_truth, det_a, category_ids, kind)
    second = match_detections(ground_truth, det_b, category_ids, kind)
    if first.n_images == 0:
        raise DataError("cannot bootstrap an AP: the data set has no images; use one that has")
    return difference_interval(first.resampled(samples, seed), second.resampled(samples, seed))


def difference_interval(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> Interval:
    """The interval of first - second from two `resampled` with one seed; draws without objects are left out.

    Raises:
        DataError: no draw has an object.
    """
    differences = first - second
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        raise DataError("cannot bootstrap an AP: the data set has no ground-truth objects; use one that has")
    low, high = np.percentile(differences, [2.5, 97.5])
    return Interval(float(low), float(high), float(differences.mean()), samples=len(differences))


def _rank_category(images: Sequence[dict[str, Any] | None], max_detections: int) -> CategoryMatches:
    positives = np.zeros(len(images), np.int64)
    scores, hits, misses, owner = [], [], [], []
    for position, image in enumerate(images):
        if image is None:
            continue
        ignored = np.asarray(image["dtIgnore"], bool)[:, :max_detections]
        matched = np.asarray(image["dtMatches"])[:, :max_detections] > 0
        scores.append(np.asarray(image["dtScores"], float)[:max_detections])
        hits.append(matched & ~ignored)
        misses.append(~matched & ~ignored)
        owner.append(np.full(len(scores[-1]), position, np.intp))
        positives[position] = np.count_nonzero(np.asarray(image["gtIgnore"]) == 0)
    if not scores:
        nothing = np.zeros((10, 0), bool)
        return CategoryMatches(nothing, nothing, np.zeros(0, np.intp), positives)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    return CategoryMatches(
        np.concatenate(hits, axis=1)[:, order],
        np.concatenate(misses, axis=1)[:, order],
        np.concatenate(owner)[order],
        positives,
    )


def _category_precision(
    category: CategoryMatches, weights: npt.NDArray[np.int64], recalls: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Mean interpolated precision [S] over thresholds and recalls, as pycocotools' accumulate(); NaN if no object."""
    totals = weights @ category.positives
    result = np.full(len(weights), np.nan)
    result[totals > 0] = 0.0
    if not len(category.image):
        return result
    step = max(1, _CHUNK // len(category.image))
    rows = np.flatnonzero(totals > 0)
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        result[chosen] = _interpolated(category, weights[chosen], totals[chosen], recalls)
    return result


def _interpolated(
    category: CategoryMatches,
    weights: npt.NDArray[np.int64],
    totals: npt.NDArray[np.int64],
    recalls: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """As `_category_precision` for draws that have objects.

    Recall moves at hits only, and precision falls from one hit to the next, so the curve needs no other
    points.
    """
    count = weights[:, category.image]
    total = np.zeros(len(weights))
    for hits, misses in zip(category.hits, category.misses, strict=True):
        at = np.flatnonzero(hits)
        if not len(at):
            continue
        true = np.cumsum(count[:, at], axis=1, dtype=float)
        false = np.cumsum(count * misses, axis=1, dtype=float)[:, at]
        precision = true / (true + false + _EPSILON)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # A hit answers for the recall levels that are reached at it and were not reached before it.
        reached = np.searchsorted(recalls, true / totals[:, None], side="right")
        total += (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1)
    mean: npt.NDArray[np.float64] = total / (len(recalls) * len(category.hits))
    return mean
