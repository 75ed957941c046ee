"""Errors of a detector by type, and what each type costs in AP50: TIDE (Bolya et al. 2020, section 2).

Detections are matched by pycocotools at IoU FOREGROUND. A false one has one type, the first that fits:

    localization    its best object of the same class overlaps by BACKGROUND or more, but less than FOREGROUND
    classification  an object of another class overlaps by FOREGROUND or more
    duplicate       an object of the same class overlaps by FOREGROUND or more: a better detection has it
    background      nothing overlaps by BACKGROUND
    both            what is left: it overlaps by less than FOREGROUND with another class

An object that nothing found is missed, unless a localization or classification error was meant for it. The overlap of
keypoints is their similarity (OKS). Crowds and what is matched to them count nowhere, as in pycocotools.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.evaluation.bootstrap import CategoryMatches, Matches

FOREGROUND = 0.5
BACKGROUND = 0.1
TYPES = ("classification", "localization", "both", "duplicate", "background", "missed")

_HIT = -1
_NO_OBJECT = -1

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ErrorCost:
    """How often a type occurs, and AP50 with all of it repaired minus AP50; None where no object is left to find."""

    count: int
    cost: float | None


@dataclass(frozen=True)
class ErrorReport:
    """`types` by name. false_positives, false_negatives: all of them, with what removing them gains.

    repaired: AP50 with every type repaired at once, which is 1; None where all objects are missed.
    """

    ap50: float | None
    types: dict[str, ErrorCost]
    false_positives: ErrorCost
    false_negatives: ErrorCost
    repaired: float | None


@dataclass(frozen=True)
class Judged:
    """Detections that count, by image and best score first within one, and the objects that count.

    score, label, image: [D]; label and image are positions in lists of categories and images. error: int [D], -1 for
    a hit, else a position in `TYPES`. target: int [D], the object that a localization or classification error was
    meant for, else -1. object_label, object_image: int [G]. found: bool [G].
    """

    score: npt.NDArray[np.float64]
    label: Ints
    image: Ints
    error: Ints
    target: Ints
    object_label: Ints
    object_image: Ints
    found: Bools
    categories: int
    images: int


def find_errors(evaluation: Any) -> ErrorReport:
    """The errors in what `run_coco` matched; leaves it as it was."""
    return report_errors(judge(evaluation))


def report_errors(judged: Judged) -> ErrorReport:
    """Count the types, and repair each alone: the oracles of the paper."""
    ap50 = _ap50(judged, ())
    missed = ~judged.found & ~_covered(judged)
    counts = {name: int(np.count_nonzero(judged.error == TYPES.index(name))) for name in TYPES}
    counts["missed"] = int(np.count_nonzero(missed))
    hits = judged.error == _HIT
    clean = _score(judged, judged.label, hits, hits, np.ones_like(judged.found))
    found = _score(judged, judged.label, hits, np.ones_like(hits), judged.found)
    return ErrorReport(
        ap50,
        {name: ErrorCost(counts[name], _gain(_ap50(judged, (name,)), ap50)) for name in TYPES},
        ErrorCost(int(np.count_nonzero(~hits)), _gain(clean, ap50)),
        ErrorCost(int(np.count_nonzero(~judged.found)), _gain(found, ap50)),
        _ap50(judged, TYPES),
    )


def judge(evaluation: Any) -> Judged:
    """Give every detection of a matched COCOeval its type."""
    params = evaluation.params
    parts = [_judge_image(evaluation, position) for position in range(len(params.imgIds))]
    first = np.cumsum([0, *(len(part.found) for part in parts)])
    shifted = [
        np.where(part.target >= 0, part.target + start, _NO_OBJECT) for part, start in zip(parts, first, strict=False)
    ]
    return Judged(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.error for part in parts]),
        np.concatenate(shifted).astype(np.int64),
        np.concatenate([part.object_label for part in parts]),
        np.concatenate([part.object_image for part in parts]),
        np.concatenate([part.found for part in parts]),
        len(params.catIds),
        len(params.imgIds),
    )


def types_of(overlap: npt.NDArray[np.float64], label: Ints, object_label: Ints, hit: Bools) -> tuple[Ints, Ints]:
    """Error [D] and target [D] of the detections of one image, as in `Judged`; overlap: [D, G] in 0..1."""
    error = np.full(len(label), _HIT, np.int64)
    target = np.full(len(label), _NO_OBJECT, np.int64)
    same = label[:, None] == object_label[None, :]
    for row in np.flatnonzero(~hit):
        own, other = (np.where(chosen, overlap[row], -1.0) for chosen in (same[row], ~same[row]))
        best_own, best_other = (float(values.max(initial=-1.0)) for values in (own, other))
        if BACKGROUND <= best_own < FOREGROUND:
            error[row], target[row] = TYPES.index("localization"), own.argmax()
        elif best_other >= FOREGROUND:
            error[row], target[row] = TYPES.index("classification"), other.argmax()
        elif best_own >= FOREGROUND:
            error[row] = TYPES.index("duplicate")
        else:
            error[row] = TYPES.index("both" if best_other >= BACKGROUND else "background")
    return error, target


def _judge_image(evaluation: Any, position: int) -> Judged:
    """One image; its targets count within the image."""
    params = evaluation.params
    image = params.imgIds[position]
    hit, taken = _counted(evaluation, position)
    rows, truths = (
        [(row, label) for label, category in enumerate(params.catIds) for row in group[image, category]]
        for group in (evaluation._dts, evaluation._gts)
    )
    rows = sorted(((row, label) for row, label in rows if row["id"] in hit), key=lambda pair: -pair[0]["score"])
    truths = [(row, label) for row, label in truths if row["id"] in taken]
    overlap = _overlaps(evaluation, image, [row for row, _ in rows], [row for row, _ in truths])
    label = np.array([label for _, label in rows], np.int64)
    object_label = np.array([label for _, label in truths], np.int64)
    hits = np.array([hit[row["id"]] for row, _ in rows], np.bool_)
    error, target = types_of(overlap, label, object_label, hits)
    return Judged(
        np.array([row["score"] for row, _ in rows], np.float64),
        label,
        np.full(len(rows), position, np.int64),
        error,
        target,
        object_label,
        np.full(len(truths), position, np.int64),
        np.array([taken[row["id"]] for row, _ in truths], np.bool_),
        len(params.catIds),
        len(params.imgIds),
    )


def _counted(evaluation: Any, position: int) -> tuple[dict[int, bool], dict[int, bool]]:
    """Detections that count by id, with whether they hit; and objects that count, with whether they were found."""
    params = evaluation.params
    stride = len(params.areaRng) * len(params.imgIds)
    hit: dict[int, bool] = {}
    taken: dict[int, bool] = {}
    for category in range(len(params.catIds)):
        # evalImgs is flat over [category, area, image]; the first area is "all".
        entry = evaluation.evalImgs[category * stride + position]
        if entry is None:
            continue
        detections = zip(entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True)
        objects = zip(entry["gtIds"], entry["gtMatches"][0], entry["gtIgnore"], strict=True)
        hit |= {row: match > 0 for row, match, ignored in detections if not ignored}
        taken |= {row: match > 0 for row, match, ignored in objects if not ignored}
    return hit, taken


def _overlaps(
    evaluation: Any, image: int, detections: list[dict[str, Any]], truths: list[dict[str, Any]]
) -> npt.NDArray[np.float64]:
    """IoU or OKS [D, G] across classes, by pycocotools, which looks rows up by image and category."""
    if not detections or not truths:
        return np.zeros((len(detections), len(truths)))
    compute = evaluation.computeOks if evaluation.params.iouType == "keypoints" else evaluation.computeIoU
    key, limits = (image, None), evaluation.params.maxDets
    evaluation._dts[key], evaluation._gts[key] = detections, truths
    evaluation.params.maxDets = [len(detections)]
    try:
        return np.asarray(compute(*key), np.float64)
    finally:
        evaluation.params.maxDets = limits
        del evaluation._dts[key], evaluation._gts[key]


def _covered(judged: Judged) -> Bools:
    """Objects that an error with a target was meant for."""
    covered = np.zeros_like(judged.found)
    covered[judged.target[judged.target >= 0]] = True
    return covered


def _ap50(judged: Judged, repaired: Collection[str]) -> float | None:
    """AP50 after the oracles of the types `repaired`.

    A detection with a target becomes a hit of that object if it is free and no better one is repaired for it; every
    other false detection of the types goes. A missed object no longer counts.
    """
    wrong = np.isin(judged.error, [TYPES.index(name) for name in repaired])
    label, hit = judged.label.copy(), judged.error == _HIT
    aimed = np.flatnonzero(wrong & (judged.target >= 0))
    aimed = aimed[~judged.found[judged.target[aimed]]]
    aimed = aimed[np.argsort(-judged.score[aimed], kind="mergesort")]
    _, best = np.unique(judged.target[aimed], return_index=True)
    saved = aimed[best]
    hit[saved] = True
    label[saved] = judged.object_label[judged.target[saved]]
    counted = judged.found | _covered(judged) if "missed" in repaired else np.ones_like(judged.found)
    return _score(judged, label, hit, ~wrong | hit, counted)


def _score(judged: Judged, label: Ints, hit: Bools, kept: Bools, counted: Bools) -> float | None:
    """AP at one threshold of the detections `kept` and the objects `counted`; None without such objects."""
    categories = []
    for category in range(judged.categories):
        own = np.flatnonzero(kept & (label == category))
        own = own[np.argsort(-judged.score[own], kind="mergesort")]
        objects = judged.object_image[counted & (judged.object_label == category)]
        positives = np.bincount(objects, minlength=judged.images)
        categories.append(
            CategoryMatches(hit[own][None], ~hit[own][None], judged.image[own].astype(np.intp), positives)
        )
    matches = Matches(tuple(categories), _RECALLS, judged.images)
    found = float(matches.average_precision(np.ones((1, judged.images), np.int64))[0])
    return None if np.isnan(found) else found


def _gain(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


_RECALLS: npt.NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
