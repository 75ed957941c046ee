"""Matched detections of two models: which pairs count, the means over them, and when they are poor."""

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.measure.agreement import Agreement, agreement


def detections(*rows: tuple[float, float, int]) -> Detections:
    """Boxes of 10 x 10 pixels by left edge, score and label."""
    boxes = [[left, 0, left + 10, 10] for left, _, _ in rows]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
    )


NOTHING = detections()


def test_means_are_over_the_matches() -> None:
    dense = detections((0, 0.9, 1), (50, 0.5, 2), (80, 0.29, 1))
    int8 = detections((1, 0.8, 1), (50, 0.1, 2))
    found = agreement([(dense, int8)])
    assert (found.images, found.reference, found.matched, found.extra) == (1, 2, 2, 0)
    assert found.iou == pytest.approx((90 / 110 + 1) / 2)
    assert found.score_difference == pytest.approx((-0.1 - 0.4) / 2)


@pytest.mark.parametrize(
    ("int8", "matched", "extra"),
    [
        (detections((0, 0.9, 2)), 0, 1),  # another class
        (detections((4, 0.9, 1)), 0, 1),  # IoU 60 / 140
        (detections((3, 0.9, 1)), 1, 0),  # IoU 70 / 130
        (detections((3, 0.9, 1), (1, 0.4, 1)), 1, 1),  # the nearer one is the match
        (NOTHING, 0, 0),
    ],
)
def test_a_match_has_the_class_and_half_of_the_area(int8: Detections, matched: int, extra: int) -> None:
    found = agreement([(detections((0, 0.9, 1)), int8)])
    assert (found.matched, found.extra) == (matched, extra)


def test_a_detection_matches_once_and_the_best_score_chooses_first() -> None:
    found = agreement([(detections((2, 0.4, 1), (0, 0.9, 1)), detections((0, 0.7, 1)))])
    assert (found.reference, found.matched, found.iou) == (2, 1, 1.0)
    assert found.score_difference == pytest.approx(-0.2)


def test_where_nothing_is_found_nothing_is_poor_and_the_sentence_says_so() -> None:
    found = agreement([(NOTHING, detections((0, 0.9, 1))), (detections((0, 0.2, 1)), NOTHING)])
    assert not found.poor
    assert found.describe() == "no detection of the dense model on 2 images has a score of 0.3 or more"


def test_one_that_only_passes_the_threshold_is_no_extra() -> None:
    found = agreement([(detections((0, 0.28, 1)), detections((0, 0.31, 1), (50, 0.9, 1)))])
    assert (found.reference, found.extra) == (0, 1)


@pytest.mark.parametrize(
    ("figures", "poor"),
    [
        ((100, 90, 10, 0.9, -0.04), False),
        ((100, 89, 10, 0.9, -0.04), True),
        ((100, 90, 11, 0.9, -0.04), True),
        ((100, 90, 10, 0.84, -0.04), True),
        ((100, 90, 10, 0.9, -0.06), True),
        ((100, 90, 10, 0.9, 0.2), False),
    ],
)
def test_poor_is_what_passes_a_bound(figures: tuple[int, int, int, float, float], poor: bool) -> None:
    assert Agreement(4, *figures).poor is poor
