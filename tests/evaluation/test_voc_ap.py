"""VOC's average precision: cases worked out by hand, and the development kit's loops written out again."""

from typing import Any

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_ap import evaluate_detections
from lth_deploy.evaluation.voc_ap import voc_average_precision

CATEGORY_IDS = (4, 9, 11)
Row = tuple[int, float, list[float]]
"""Label, score and x1, y1, x2, y2 of a detection."""


def truth(*objects: tuple[int, int, list[float], bool], images: int = 2) -> dict[str, Any]:
    """A COCO document; objects are image, label, corners and whether it is difficult."""
    return {
        "images": [{"id": number, "width": 100, "height": 100} for number in range(1, images + 1)],
        "categories": [{"id": number, "name": f"class {number}"} for number in CATEGORY_IDS],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": CATEGORY_IDS[label - 1],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(difficult),
            }
            for number, (image, label, (x1, y1, x2, y2), difficult) in enumerate(objects, start=1)
        ],
    }


def found(*rows: Row) -> Detections:
    return Detections(
        np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[0] for row in rows], np.int64),
    )


A, B, C, AWAY = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10], [60.0, 60, 70, 70]


def test_the_two_rules_by_hand() -> None:
    # Right, wrong, right; one of three objects is never found: precision 1 up to recall 1/3, 2/3 up to 2/3.
    objects = truth((1, 1, A, False), (1, 1, B, False), (2, 1, C, False))
    detections = {1: found((1, 0.9, A), (1, 0.8, AWAY), (1, 0.7, B))}
    first = voc_average_precision(objects, detections, CATEGORY_IDS).classes[0]
    assert first.objects == 3
    assert first.area == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # Recalls 0, .1, .2, .3 are reached at precision 1; .4, .5, .6 at 2/3; .7 to 1 never.
    assert first.eleven_points == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_a_recall_of_exactly_a_tenth_is_reached() -> None:
    # 3 of 10 is not less than .3, though 3 * .1 is more than .3 in floating point.
    objects = truth(*((1, 1, [12.0 * k, 0, 12.0 * k + 10, 10], False) for k in range(10)))
    detections = {1: found(*((1, 0.9 - 0.1 * k, [12.0 * k, 0, 12.0 * k + 10, 10]) for k in range(3)))}
    assert voc_average_precision(objects, detections, CATEGORY_IDS).classes[0].eleven_points == pytest.approx(4 / 11)


def test_difficult_objects_neither_help_nor_harm() -> None:
    plain = truth((1, 1, A, False))
    with_difficult = truth((1, 1, A, False), (1, 1, B, True), (2, 1, C, True))
    # The second box finds a difficult object, twice; without that object it is an error.
    detections = {1: found((1, 0.9, B), (1, 0.8, B), (1, 0.7, A))}
    assert voc_average_precision(with_difficult, detections, CATEGORY_IDS).classes[0].area == 1.0
    assert voc_average_precision(with_difficult, detections, CATEGORY_IDS).classes[0].objects == 1
    assert voc_average_precision(plain, detections, CATEGORY_IDS).classes[0].area == pytest.approx(1 / 3)
    only_difficult = truth((1, 1, A, True))
    assert voc_average_precision(only_difficult, detections, CATEGORY_IDS).classes[0].area is None


def test_a_box_counts_for_the_object_that_it_overlaps_most_even_if_that_is_found_already() -> None:
    # Both boxes lie nearest to the first object; the second one overlaps the other object by more than a half too.
    near = [0.0, 0, 10, 10], [0.0, 3, 10, 13]
    boxes = [0.0, 0, 10, 10], [0.0, 1, 10, 11]
    objects = truth((1, 1, near[0], False), (1, 1, near[1], False))
    detections = {1: found((1, 0.9, boxes[0]), (1, 0.8, boxes[1]))}
    assert voc_average_precision(objects, detections, CATEGORY_IDS).classes[0].area == pytest.approx(0.5)


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    objects = truth((1, 1, [0.0, 0, 10, 10], False))
    for width, expected in ((20.0, 1.0), (20.5, 0.0)):
        detections = {1: found((1, 0.9, [0.0, 0, width, 10]))}
        assert voc_average_precision(objects, detections, CATEGORY_IDS).classes[0].area == expected


def test_equal_scores_rank_by_image_and_then_as_they_come() -> None:
    objects = truth((1, 1, A, False), (2, 1, A, False))
    right_first = {2: found((1, 0.5, AWAY)), 1: found((1, 0.5, A))}
    wrong_first = {2: found((1, 0.5, A)), 1: found((1, 0.5, AWAY))}
    assert voc_average_precision(objects, right_first, CATEGORY_IDS).classes[0].area == pytest.approx(1 / 2)
    assert voc_average_precision(objects, wrong_first, CATEGORY_IDS).classes[0].area == pytest.approx(1 / 4)


def test_classes_without_objects_or_detections() -> None:
    objects = truth((1, 1, A, False), (1, 2, B, False))
    result = voc_average_precision(objects, {1: found((1, 0.9, A), (3, 0.9, C))}, CATEGORY_IDS)
    assert [one.name for one in result.classes] == ["class 4", "class 9", "class 11"]
    assert [one.area for one in result.classes] == [1.0, 0.0, None]
    assert result.metrics() == {"VOC07": 0.5, "VOC10": 0.5}
    nothing = voc_average_precision(truth(), {1: found((1, 0.9, A))}, CATEGORY_IDS)
    assert nothing.metrics() == {"VOC07": None, "VOC10": None}
    assert voc_average_precision(objects, {}, CATEGORY_IDS).metrics() == {"VOC07": 0.0, "VOC10": 0.0}


def test_detections_without_meaning_are_refused() -> None:
    for row, message in (((4, 0.5, A), "labels 4..4"), ((1, float("nan"), A), "score is not finite")):
        with pytest.raises(DataError, match=message):
            voc_average_precision(truth((1, 1, A, False)), {1: found(row)}, CATEGORY_IDS)


def test_boxes_are_reported_by_vocs_rules_beside_cocos() -> None:
    objects = truth((1, 1, A, False), (2, 2, B, False))
    result = evaluate_detections(objects, {1: found((1, 0.9, A)), 2: found((2, 0.9, AWAY))}, CATEGORY_IDS)
    assert result.metrics["bbox"]["VOC10"] == pytest.approx(0.5)
    assert result.metrics["bbox"]["VOC07"] == pytest.approx(0.5)
    assert result.voc is not None
    assert [one.objects for one in result.voc.classes] == [1, 1, 0]


@pytest.mark.parametrize("seed", range(12))
def test_random_boxes_score_as_in_the_development_kit(seed: int) -> None:
    objects, detections = _random_scene(np.random.default_rng(seed))
    result = voc_average_precision(objects, detections, CATEGORY_IDS)
    for label, one in enumerate(result.classes, start=1):
        area, points, count = _development_kit(objects, detections, label)
        assert one.objects == count
        assert (one.area is None) == (count == 0)
        if count:
            assert one.area == pytest.approx(area, abs=1e-12)
            assert one.eleven_points == pytest.approx(points, abs=1e-12)


def _random_scene(generator: np.random.Generator) -> tuple[dict[str, Any], dict[int, Detections]]:
    """Boxes on a coarse grid, so that overlaps and scores tie; class 3 never has a plain object."""
    objects, detections = [], {}
    for image in range(1, 9):
        corners = []
        for _ in range(int(generator.integers(0, 7))):
            x, y = (float(value) for value in 5 * generator.integers(0, 8, 2))
            width, height = (float(value) for value in 5 * generator.integers(2, 6, 2))
            corners.append([x, y, x + width, y + height])
        for box in corners:
            label = int(generator.integers(1, 4))
            objects.append((image, label, box, bool(generator.random() < 0.3) or label == 3))
        rows = [
            (
                int(generator.integers(1, 4)),
                round(float(generator.random()), 1),
                [v + 5 * s for v, s in zip(b, d, strict=True)],
            )
            for b in corners * 4
            for d in [[*(generator.integers(-1, 2, 2)), *(generator.integers(0, 2, 2))]]
            if generator.random() < 0.8
        ]
        if generator.random() < 0.9:
            detections[image] = found(*rows)
    return truth(*objects, images=8), detections


def _development_kit(
    objects: dict[str, Any], detections: dict[int, Detections], label: int
) -> tuple[float, float, int]:
    """VOCevaldet and both versions of VOCap, loop by loop, in pixels counted from 1 to the last one included."""
    images = [image["id"] for image in objects["images"]]
    mine = [one for one in objects["annotations"] if one["category_id"] == CATEGORY_IDS[label - 1]]
    truths = {
        image: [
            {"bb": (x + 1, y + 1, x + w, y + h), "diff": bool(one["iscrowd"]), "det": False}
            for one in mine
            if one["image_id"] == image
            for x, y, w, h in [one["bbox"]]
        ]
        for image in images
    }
    positives = sum(not one["diff"] for group in truths.values() for one in group)
    ranked = []
    for image in images:
        if image in detections:
            one = detections[image]
            for box, score, its in zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True):
                if its == label:
                    ranked.append((score, image, (box[0] + 1, box[1] + 1, box[2], box[3])))
    ranked.sort(key=lambda row: -row[0])
    right, wrong, recall, precision = 0, 0, [], []
    for _, image, box in ranked:
        best, nearest = -1.0, None
        for one in truths[image]:
            width = min(box[2], one["bb"][2]) - max(box[0], one["bb"][0]) + 1
            height = min(box[3], one["bb"][3]) - max(box[1], one["bb"][1]) + 1
            if width > 0 and height > 0:
                sizes = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, one["bb"])]
                overlap = width * height / (sum(sizes) - width * height)
                if overlap > best:
                    best, nearest = overlap, one
        if nearest is not None and best >= 0.5:
            if nearest["diff"]:
                continue
            right += not nearest["det"]
            wrong += nearest["det"]
            nearest["det"] = True
        else:
            wrong += 1
        recall.append(right / max(positives, 1))
        precision.append(right / (right + wrong))
    points = sum(
        max([p for r, p in zip(recall, precision, strict=True) if r >= k / 10], default=0.0) for k in range(11)
    )
    envelope = [0.0, *precision, 0.0]
    steps = [0.0, *recall, 1.0]
    for i in range(len(envelope) - 2, -1, -1):
        envelope[i] = max(envelope[i], envelope[i + 1])
    area = sum((steps[i] - steps[i - 1]) * envelope[i] for i in range(1, len(steps)))
    return area, points / 11, positives
