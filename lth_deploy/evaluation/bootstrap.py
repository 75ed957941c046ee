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

    def average_precision(self, weights: npt.NDArray[np.int64]) -> float | None:
        """AP when image i counts `weights[i]` times; None when no object counts."""
        each = [
            precision
            for category in self.categories
            if (precision := _category_precision(category, weights, self.recalls)) is not None
        ]
        return float(np.mean(each)) if each else None


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
    evaluation = run_coco(ground_truth, detections, category_ids, kind)
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
    return bootstrap_difference(first, second, samples=samples, seed=seed)


def bootstrap_difference(first: Matches, second: Matches, *, samples: int, seed: int) -> Interval:
    """As `paired_bootstrap` on detections that are matched already; a resample without objects is redrawn.

    Raises:
        DataError: no image has an object.
    """
    whole = np.ones(first.n_images, np.int64)
    if first.n_images == 0 or first.average_precision(whole) is None:
        raise DataError("cannot bootstrap an AP: the data set has no ground-truth objects; use one that has")
    generator = np.random.default_rng(seed)
    differences: list[float] = []
    while len(differences) < samples:
        drawn = generator.integers(0, first.n_images, first.n_images)
        weights = np.bincount(drawn, minlength=first.n_images)
        ap_first, ap_second = first.average_precision(weights), second.average_precision(weights)
        if ap_first is not None and ap_second is not None:
            differences.append(ap_first - ap_second)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Interval(float(low), float(high), float(np.mean(differences)), samples=samples)


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
) -> float | None:
    """Mean interpolated precision over thresholds and recalls, as pycocotools' accumulate()."""
    total = int(weights @ category.positives)
    if total == 0:
        return None
    count = weights[category.image]
    drawn = count > 0
    if not drawn.any():
        return 0.0
    count = count[drawn]
    true = np.cumsum(category.hits[:, drawn] * count, axis=1, dtype=float)
    false = np.cumsum(category.misses[:, drawn] * count, axis=1, dtype=float)
    precision = true / (true + false + _EPSILON)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = true / total
    sampled = np.zeros((len(true), len(recalls)))
    for threshold in range(len(true)):
        at = np.searchsorted(recall[threshold], recalls, side="left")
        reached = at < recall.shape[1]
        sampled[threshold, reached] = precision[threshold, at[reached]]
    return float(sampled.mean())
