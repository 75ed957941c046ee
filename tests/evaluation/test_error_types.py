"""Each error type of TIDE on a case made by hand, and the laws that hold on any detections."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.detections import Detections
from lth_deploy.evaluation.coco_ap import evaluate_detections, run_coco
from lth_deploy.evaluation.error_types import TYPES, ErrorReport, find_errors
from tests.evaluation.coco_truths import ground_truth as coco_truth
from tests.evaluation.coco_truths import perfect

Box = tuple[float, float, float, float]
Object = tuple[Box, int]
Found = tuple[Box, int, float]

CATEGORIES = (3, 90)
HERE: Box = (10, 10, 50, 50)
SHIFTED: Box = (30, 10, 70, 50)
"""Overlaps HERE by a third."""
ELSEWHERE: Box = (100, 100, 140, 140)
NEARBY: Box = (48, 48, 88, 88)
"""Overlaps HERE by less than a tenth."""


def truth(objects: Sequence[Object], crowds: Sequence[Object] = ()) -> dict[str, Any]:
    rows = [(box, label, 0) for box, label in objects] + [(box, label, 1) for box, label in crowds]
    return {
        "images": [{"id": 7, "width": 200, "height": 200}],
        "categories": [{"id": number, "name": str(number)} for number in CATEGORIES],
        "annotations": [
            {
                "id": number,
                "image_id": 7,
                "category_id": CATEGORIES[label - 1],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
                "iscrowd": crowd,
            }
            for number, (box, label, crowd) in enumerate(rows, start=1)
        ],
    }


def found(rows: Sequence[Found]) -> dict[int, Detections]:
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in rows], np.int64)
    return {7: Detections(boxes, np.array([score for *_, score in rows], np.float32), labels)}


def errors(objects: Sequence[Object], rows: Sequence[Found], crowds: Sequence[Object] = ()) -> ErrorReport:
    return find_errors(run_coco(truth(objects, crowds), found(rows), CATEGORIES, "bbox"))


def counts(report: ErrorReport) -> dict[str, int]:
    return {name: one.count for name, one in report.types.items() if one.count}


HIT: Found = (ELSEWHERE, 1, 0.3)
"""A true detection that ranks last, so that every false one before it costs AP."""


@pytest.mark.parametrize(
    ("name", "objects", "rows"),
    [
        ("classification", [(HERE, 2), (ELSEWHERE, 1)], [(HERE, 1, 0.9), HIT]),
        ("localization", [(HERE, 1), (ELSEWHERE, 1)], [(SHIFTED, 1, 0.9), HIT]),
        ("duplicate", [(HERE, 1), (ELSEWHERE, 1)], [(HERE, 1, 0.9), (HERE, 1, 0.8), HIT]),
        ("background", [(ELSEWHERE, 1)], [(NEARBY, 1, 0.9), HIT]),
        ("missed", [(HERE, 1), (ELSEWHERE, 1)], [HIT]),
    ],
)
def test_one_error_of_a_kind_costs_what_lies_between_it_and_perfect(
    name: str, objects: list[Object], rows: list[Found]
) -> None:
    report = errors(objects, rows)
    assert counts(report) == {name: 1}
    assert report.ap50 is not None
    assert report.ap50 < 0.9
    assert report.types[name].cost == pytest.approx(1 - report.ap50)
    assert all(one.cost == pytest.approx(0) for other, one in report.types.items() if other != name)


def test_wrong_in_class_and_place_leaves_the_object_missed() -> None:
    report = errors([(HERE, 2), (ELSEWHERE, 1)], [(SHIFTED, 1, 0.9), HIT])
    assert counts(report) == {"both": 1, "missed": 1}
    # Class 1 has its only false detection removed, class 2 keeps its AP of 0.
    assert report.ap50 == pytest.approx(0.25)
    assert report.types["both"].cost == pytest.approx(0.25)
    assert report.types["missed"].cost == pytest.approx(0.25)  # class 2 has no object left, so class 1 is the mean


def test_two_errors_meant_for_one_object_repair_it_once() -> None:
    report = errors([(HERE, 1), (ELSEWHERE, 1)], [(SHIFTED, 1, 0.9), (SHIFTED, 1, 0.8), HIT])
    assert counts(report) == {"localization": 2}
    assert report.types["localization"].cost == pytest.approx(1 - (report.ap50 or 0))


def test_an_error_meant_for_an_object_that_was_found_is_only_removed() -> None:
    report = errors([(HERE, 1)], [(SHIFTED, 1, 0.9), (HERE, 1, 0.8)])
    assert counts(report) == {"localization": 1}
    assert report.ap50 == pytest.approx(0.5)
    assert report.types["localization"].cost == pytest.approx(0.5)


def test_an_object_that_an_error_was_meant_for_is_not_missed() -> None:
    report = errors([(HERE, 2)], [(HERE, 1, 0.9)])
    assert counts(report) == {"classification": 1}
    assert report.false_negatives.count == 1
    assert report.types["missed"].cost == pytest.approx(0)


def test_crowds_are_neither_found_nor_missed() -> None:
    inside: Box = (110, 110, 130, 130)
    report = errors([(HERE, 1)], [(inside, 1, 0.95), (HERE, 1, 0.9)], crowds=[(ELSEWHERE, 1)])
    assert counts(report) == {}
    assert report.ap50 == pytest.approx(1)
    # A detection of another class is no part of the crowd, and the crowd is nothing that it could be meant for.
    assert counts(errors([(HERE, 1)], [(inside, 2, 0.95), (HERE, 1, 0.9)], crowds=[(ELSEWHERE, 1)])) == {
        "background": 1
    }


def test_nothing_found_and_nothing_to_find() -> None:
    assert counts(errors([(HERE, 1), (HERE, 2)], [])) == {"missed": 2}
    empty = errors([], [(HERE, 1, 0.9)])
    assert counts(empty) == {"background": 1}
    assert empty.ap50 is None
    assert all(one.cost is None for one in empty.types.values())


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_masks_and_keypoints_are_judged_by_their_own_overlap(kind: str) -> None:
    document = coco_truth()
    everything = find_errors(run_coco(document, perfect(document), CATEGORIES, kind))
    assert counts(everything) == {}
    assert everything.ap50 == pytest.approx(1)
    moved = find_errors(run_coco(document, perfect(document, shift=9), CATEGORIES, kind))
    metrics = evaluate_detections(document, perfect(document, shift=9), CATEGORIES, [kind]).metrics[kind]
    assert moved.ap50 == pytest.approx(metrics["AP50"])
    assert sum(counts(moved).values()) > 0
    assert moved.repaired == pytest.approx(1)


boxes = st.tuples(*(st.integers(0, 12) for _ in range(2)), *(st.integers(1, 8) for _ in range(2))).map(
    lambda box: (10.0 * box[0], 10.0 * box[1], 10.0 * (box[0] + box[2]), 10.0 * (box[1] + box[3]))
)
labels = st.integers(1, 2)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(boxes, labels), max_size=6),
    st.lists(st.tuples(boxes, labels, st.integers(1, 20).map(lambda score: score / 20)), max_size=12),
    st.lists(st.tuples(boxes, labels), max_size=2),
)
def test_every_false_detection_has_one_type_and_repairing_all_is_perfect(
    objects: list[Object], rows: list[Found], crowds: list[Object]
) -> None:
    document, detections = truth(objects, crowds), found(rows)
    report = find_errors(run_coco(document, detections, CATEGORIES, "bbox"))
    metrics = evaluate_detections(document, detections, CATEGORIES).metrics["bbox"]
    assert report.ap50 == (None if metrics["AP50"] is None else pytest.approx(metrics["AP50"], abs=1e-9))
    assert sum(report.types[name].count for name in TYPES if name != "missed") == report.false_positives.count
    assert report.types["missed"].count <= report.false_negatives.count
    assert report.repaired is None or report.repaired == pytest.approx(1)
    if objects and report.types["missed"].count < len(objects):
        assert report.repaired is not None
    # Removing what is false never hurts; removing classes from the mean may.
    removals = [report.types[name].cost for name in TYPES if name != "missed"]
    assert all(cost is None or cost >= -1e-9 for cost in [*removals, report.false_positives.cost])
