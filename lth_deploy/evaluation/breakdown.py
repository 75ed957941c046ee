"""AP of one detector by class and by object size, and its errors, from a single matching."""

import contextlib
import copy
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.detections import Detections
from lth_deploy.evaluation.bootstrap import Matches, rank_matches
from lth_deploy.evaluation.coco_ap import Metrics, read_metrics, run_coco
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.evaluation.error_types import ErrorReport, find_errors

SIZE_BINS = 5
LEAST_IN_BIN = 10
"""Objects; with fewer the bins become wider, because the AP of a few objects is mostly noise."""

_ENDLESS = 1e10


@dataclass(frozen=True)
class ClassFigures:
    """Objects of a class that count, and its AP and AP50; None where it has no object."""

    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class SizeFigures:
    """A range of object sizes with the objects in it, and the AP over the classes that have one there.

    low, high: square root of the area; in pixels for COCO's ranges, else as a share of the image's.
    """

    name: str
    low: float
    high: float | None
    objects: int
    ap: float | None


@dataclass(frozen=True)
class Breakdown:
    """Everything about one kind of AP. classes: in the order of category ids, as `matches` has them."""

    metrics: Metrics
    classes: tuple[ClassFigures, ...]
    coco_sizes: tuple[SizeFigures, ...]
    relative_sizes: tuple[SizeFigures, ...]
    errors: ErrorReport
    matches: Matches


def break_down(
    ground_truth: Mapping[str, Any],
    detections: Mapping[int, Detections | CompactDetections],
    category_ids: Sequence[int],
    kind: str,
) -> Breakdown:
    """Match once, and look at the result from every side. `category_ids[label - 1]` is the id of a label.

    Raises:
        DataError: as `evaluate_detections`.
    """
    evaluation = run_coco(ground_truth, detections, category_ids, kind)
    _accumulate(evaluation)
    metrics, classes, coco = read_metrics(evaluation), _classes(evaluation), _coco_sizes(evaluation)
    errors, matches = find_errors(evaluation), rank_matches(evaluation)
    # This changes the evaluation's areas, so it comes last.
    relative = _relative_sizes(evaluation, {image["id"]: image for image in ground_truth["images"]})
    return Breakdown(metrics, classes, coco, relative, errors, matches)


def size_edges(sizes: Sequence[float]) -> list[float]:
    """Inner edges of bins that hold about equally many objects, halfway between two sizes that occur."""
    bins = max(1, min(SIZE_BINS, len(sizes) // LEAST_IN_BIN))
    ranked = np.sort(np.asarray(sizes, np.float64))
    steps = np.flatnonzero(np.diff(ranked) > 0) + 1
    if not len(steps):
        return []
    wished = [len(ranked) * cut / bins for cut in range(1, bins)]
    places = {int(steps[np.abs(steps - place).argmin()]) for place in wished}
    return [float(ranked[place - 1] + ranked[place]) / 2 for place in sorted(places)]


def _classes(evaluation: Any) -> tuple[ClassFigures, ...]:
    precision = evaluation.eval["precision"]
    objects = Counter(row["category_id"] for row in _objects(evaluation))
    found = []
    for position, category in enumerate(evaluation.params.catIds):
        own = precision[:, :, position, 0, -1]
        present = bool((own > -1).all())
        ap, ap50 = (float(chosen.mean()) if present else None for chosen in (own, own[0]))
        found.append(ClassFigures(objects[category], ap, ap50))
    return tuple(found)


def _coco_sizes(evaluation: Any) -> tuple[SizeFigures, ...]:
    params = evaluation.params
    return tuple(
        _size(evaluation, position, label, high < _ENDLESS)
        for position, (label, (_, high)) in enumerate(zip(params.areaRngLbl, params.areaRng, strict=True))
        if label != "all"
    )


def _relative_sizes(evaluation: Any, images: Mapping[int, Mapping[str, Any]]) -> tuple[SizeFigures, ...]:
    """AP in ranges of area over the image's area, by matching again with the overlaps that are known."""
    for group in (evaluation._gts, evaluation._dts):
        for (image, _), rows in group.items():
            pixels = images[image]["width"] * images[image]["height"]
            for row in rows:
                row["area"] /= pixels
    edges = size_edges([float(np.sqrt(row["area"])) for row in _objects(evaluation)])
    if not edges:
        return ()
    params = evaluation.params
    bounds = [edge * edge for edge in edges]
    params.areaRng = [list(pair) for pair in zip([0.0, *bounds], [*bounds, _ENDLESS], strict=True)]
    params.areaRngLbl = [str(position) for position in range(len(params.areaRng))]
    evaluation.evalImgs = [
        evaluation.evaluateImg(image, category, area, params.maxDets[-1])
        for category in params.catIds
        for area in params.areaRng
        for image in params.imgIds
    ]
    evaluation._paramsEval = copy.deepcopy(params)
    _accumulate(evaluation)
    last = len(params.areaRng) - 1
    return tuple(_size(evaluation, position, "", position < last) for position in range(last + 1))


def _size(evaluation: Any, position: int, name: str, bounded: bool) -> SizeFigures:
    low, high = evaluation.params.areaRng[position]
    objects = sum(1 for row in _objects(evaluation) if low <= row["area"] <= high)
    precision: npt.NDArray[np.float64] = evaluation.eval["precision"][:, :, :, position, -1]
    present = precision[precision > -1]
    return SizeFigures(
        name,
        float(np.sqrt(low)),
        float(np.sqrt(high)) if bounded else None,
        objects,
        float(present.mean()) if present.size else None,
    )


def _objects(evaluation: Any) -> list[dict[str, Any]]:
    """The objects that count."""
    return [row for rows in evaluation._gts.values() for row in rows if not row["ignore"]]


def _accumulate(evaluation: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
