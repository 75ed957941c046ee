"""AP by class and by size agrees with pycocotools' own figures and with what was planted."""

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.evaluation.breakdown import SIZE_BINS, Breakdown, break_down, size_edges
from lth_deploy.evaluation.coco_ap import evaluate_detections
from tests.evaluation.coco_truths import CATEGORY_IDS, ground_truth, perfect


def damaged(images: int = 8) -> tuple[dict, dict[int, Detections]]:
    """The first category is found in full, of the second only every other object, and those shifted."""
    document = ground_truth(images=images)
    found = {}
    for image, one in perfect(document, shift=2).items():
        keep = np.flatnonzero((one.labels == 1) | (np.arange(len(one.labels)) % 4 == 1))
        found[image] = one.select(keep)
    return document, found


@pytest.fixture(scope="module")
def broken() -> Breakdown:
    return break_down(*damaged(), CATEGORY_IDS, "bbox")


def test_figures_are_those_of_pycocotools(broken: Breakdown) -> None:
    document, found = damaged()
    metrics = evaluate_detections(document, found, CATEGORY_IDS).metrics["bbox"]
    assert broken.metrics == {figure: metrics[figure] for figure in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    assert [one.ap for one in broken.coco_sizes] == [metrics[key] for key in ("APs", "APm", "APl")]
    assert np.mean([one.ap for one in broken.classes]) == pytest.approx(metrics["AP"])
    assert np.mean([one.ap50 for one in broken.classes]) == pytest.approx(metrics["AP50"])
    assert broken.errors.ap50 == pytest.approx(metrics["AP50"])
    assert [one.objects for one in broken.classes] == [16, 16]


def test_the_class_that_was_damaged_is_the_one_that_loses(broken: Breakdown) -> None:
    first, second = broken.classes
    assert first.ap50 == pytest.approx(1)
    assert second.ap50 == pytest.approx(0.5, abs=0.01)


def test_a_class_alone_resamples_to_its_own_ap(broken: Breakdown) -> None:
    for position, one in enumerate(broken.classes):
        alone = broken.matches.of_category(position)
        whole = alone.average_precision(np.ones((1, alone.n_images), np.int64))
        assert whole[0] == pytest.approx(one.ap)


def test_relative_bins_share_the_objects_and_find_the_size_that_fails(broken: Breakdown) -> None:
    assert sum(one.objects for one in broken.relative_sizes) == 32
    assert [one.low for one in broken.relative_sizes[1:]] == [one.high for one in broken.relative_sizes[:-1]]
    assert broken.relative_sizes[-1].high is None
    document = ground_truth(images=20)
    small = {
        image: one.select(np.flatnonzero(one.boxes[:, 2] - one.boxes[:, 0] > 20))
        for image, one in perfect(document).items()
    }
    first, *rest = break_down(document, small, CATEGORY_IDS, "bbox").relative_sizes
    assert first.ap == pytest.approx(0)
    assert all(one.ap == pytest.approx(1) for one in rest)


@pytest.mark.parametrize("kind", ["segm", "keypoints"])
def test_other_kinds_have_sizes_too(kind: str) -> None:
    document, found = damaged()
    broken = break_down(document, found, CATEGORY_IDS, kind)
    assert {one.name for one in broken.coco_sizes} <= {"small", "medium", "large"}
    assert broken.relative_sizes
    assert broken.metrics == evaluate_detections(document, found, CATEGORY_IDS, [kind]).metrics[kind]


def test_edges_hold_equally_many_and_few_objects_get_few_bins() -> None:
    edges = size_edges([float(size) for size in range(100)])
    assert len(edges) == SIZE_BINS - 1
    assert edges == [19.5, 39.5, 59.5, 79.5]
    assert size_edges([1.0] * 9) == []
    assert size_edges([1.0] * 100) == []
    assert size_edges([1.0] * 90 + [3.0] * 10) == [2.0]
