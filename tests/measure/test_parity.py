"""The parity check passes rounding and reordering, and fails every kind of real difference by name."""

from dataclasses import replace

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.measure.parity import ParityLimits, box_iou, compare_detections, compare_tensors


def scene(seed: int = 0, count: int = 30) -> Detections:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 200, (count, 2))
    boxes = np.hstack([corners, corners + generator.uniform(20, 60, (count, 2))]).astype(np.float32)
    masks = np.zeros((count, 280, 280), np.float32)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 0.9
    points = np.concatenate([generator.uniform(0, 200, (count, 5, 2)), np.ones((count, 5, 1))], axis=2)
    return Detections(
        boxes,
        np.sort(generator.uniform(0.2, 1, count))[::-1].astype(np.float32),
        generator.integers(1, 4, count),
        masks,
        points.astype(np.float32),
    )


def judge(reference: Detections, candidate: Detections, **limits: float):
    return compare_detections([("7.png", reference, candidate)], ParityLimits(**limits))


def test_equal_rounded_and_reordered_detections_pass() -> None:
    reference = scene()
    shuffled = reference.select(np.random.default_rng(1).permutation(len(reference)))
    rounded = replace(shuffled, boxes=shuffled.boxes + np.float32(0.02), scores=shuffled.scores + np.float32(5e-4))
    for candidate in (reference, shuffled, rounded):
        report = judge(reference, candidate)
        assert report.passed, report.describe()
        assert report.worst == ""


@pytest.mark.parametrize(
    ("change", "worst"),
    [
        (lambda d: replace(d, boxes=d.boxes + np.float32(1)), "boxes"),
        (lambda d: replace(d, boxes=np.full_like(d.boxes, np.nan)), "boxes"),
        (lambda d: replace(d, scores=d.scores - np.float32(0.01)), "scores"),
        (lambda d: replace(d, labels=d.labels + 1), "labels"),
        (lambda d: replace(d, masks=np.roll(d.masks, 2, axis=2)), "masks"),
        (lambda d: replace(d, masks=None), "masks"),
        (lambda d: replace(d, keypoints=d.keypoints + np.float32(2)), "keypoints"),
        (lambda d: replace(d, keypoints=d.keypoints[:, :4]), "keypoints"),
        (lambda d: d.select(np.arange(len(d) - 2)), "boxes"),
        (lambda d: d.select(np.arange(0)), "boxes"),
    ],
)
def test_every_difference_fails_and_is_named(change, worst: str) -> None:
    report = judge(scene(), change(scene()))
    assert not report.passed
    assert report.worst == worst
    assert f"'{worst}'" in report.describe()
    assert "7.png" in report.describe()


def test_invented_boxes_fail() -> None:
    few = scene().select(np.arange(20))
    report = judge(few, scene())
    assert not report.passed
    assert report.worst == "extra boxes"


def test_boxes_near_the_floor_may_come_and_go() -> None:
    base = scene()
    low = replace(base, scores=np.where(np.arange(30) < 20, base.scores, np.float32(0.0502)))
    assert judge(replace(low, scores=np.minimum(low.scores, 1)), low).passed
    absent = low.select(np.arange(20))
    assert judge(absent, low).passed
    dust = replace(base, scores=np.where(np.arange(30) < 20, base.scores, np.float32(0.04)))
    assert judge(dust, dust.select(np.arange(20))).passed


def test_one_lost_box_in_a_thousand_passes_and_one_in_fifty_fails() -> None:
    pairs = [(number, scene(number), scene(number)) for number in range(34)]
    one_lost = [*pairs, (99, scene(), scene().select(np.arange(29)))]
    assert compare_detections(one_lost).passed
    assert not compare_detections(one_lost[-2:]).passed


def test_a_twin_serves_one_reference_only() -> None:
    single = scene(count=1)
    doubled = single.select(np.array([0, 0]))
    assert not judge(doubled, single).passed


def test_nothing_to_compare_is_no_proof_unless_allowed() -> None:
    empty = scene().select(np.arange(0))
    assert not judge(empty, empty).passed
    assert "nothing was compared" in judge(empty, empty).describe()
    assert judge(empty, empty, minimum_boxes=0).passed


def test_box_iou_of_known_boxes() -> None:
    one = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [5, 5, 5, 5]], np.float32)
    assert box_iou(one, others).tolist() == [[1.0, 0.5, 0.0, 0.0]]
    assert box_iou(others[3:], others[3:]).tolist() == [[1.0]]


BOX = np.array([[0.0, 0.0, 10.0, 10.0]], np.float32)
SCORE, LABEL = np.array([0.9], np.float32), np.array([1], np.int64)


def test_rounding_of_a_sliver_is_no_difference_but_a_shift_is() -> None:
    sliver = np.array([[10.0, 0.0, 10.004, 80.0]], np.float32)
    assert box_iou(sliver, sliver + np.float32(0.003))[0, 0] == 1.0
    assert box_iou(sliver, sliver + np.float32(0.02))[0, 0] == 0.0


def test_a_pixel_that_rounding_lifts_over_the_cut_is_the_same_pixel() -> None:
    mask = np.zeros((1, 10, 10), np.float32)
    mask[0, :5] = 0.9
    mask[0, 5, :] = 0.4999
    for lift, passes in ((2e-4, True), (0.1, False)):
        other = mask.copy()
        other[0, 5, :] += np.float32(lift)
        pair = [Detections(BOX, SCORE, LABEL, masks=one) for one in (mask, other)]
        assert compare_detections([("image", *pair)]).passed is passes


@pytest.mark.parametrize(("lost", "passes"), [(1, True), (2, False)])
def test_one_pixel_of_a_small_mask_may_differ(lost: int, passes: bool) -> None:
    mask = np.zeros((1, 10, 10), np.float32)
    mask[0, :5] = 0.9
    other = mask.copy()
    other[0, 0, :lost] = 0.1
    pair = [Detections(BOX, SCORE, LABEL, masks=one) for one in (mask, other)]
    assert compare_detections([("image", *pair)]).passed is passes


def test_tensors_are_compared_relative_to_their_size() -> None:
    big = {"a": np.array([1000.0, 0.0], np.float32), "n": np.array([1, 2])}
    assert compare_tensors(big, {"a": big["a"] + np.float32(0.05), "n": big["n"]}).passed
    report = compare_tensors(big, {"a": big["a"] + np.float32(0.2), "n": big["n"]})
    assert (report.passed, report.worst) == (False, "a")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"a": np.array([0.0, np.nan], np.float32)},
        {"a": np.array([0.0], np.float32)},
        {"a": np.array([0.0, 1.0])},
        {"a": np.array([0.0, np.inf], np.float32)},
    ],
)
def test_absent_misshapen_and_non_finite_tensors_fail(other: dict) -> None:
    report = compare_tensors({"a": np.array([0.0, 1.0], np.float32)}, other)
    assert not report.passed
    assert report.worst == "a"


def test_integers_must_be_equal() -> None:
    assert not compare_tensors({"n": np.array([5])}, {"n": np.array([6])}).passed
