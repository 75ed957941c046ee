"""The bootstrap's weighted AP equals pycocotools' AP of the resampled data set."""

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.bootstrap import match_detections, paired_bootstrap
from lth_deploy.evaluation.coco_ap import evaluate_detections
from tests.evaluation.scenes import IDS, scene


def resampled(truth: dict, found: dict[int, Detections], weights: np.ndarray) -> tuple[dict, dict]:
    """The data set with image i repeated weights[i] times under new ids, copies side by side."""
    images, annotations, detections = [], [], {}
    for weight, image in zip(weights, truth["images"], strict=True):
        for _ in range(weight):
            images.append({**image, "id": len(images) + 1})
            detections[len(images)] = found[image["id"]]
            annotations += [
                {**row, "id": len(annotations) + number, "image_id": len(images)}
                for number, row in enumerate(
                    [row for row in truth["annotations"] if row["image_id"] == image["id"]], start=1
                )
            ]
    return {**truth, "images": images, "annotations": annotations}, detections


@pytest.mark.parametrize("seed", range(6))
def test_weighted_ap_is_that_of_the_resampled_data_set(seed: int) -> None:
    truth, found = scene(seed)
    weights = np.bincount(np.random.default_rng(seed).integers(0, 12, 12), minlength=12)
    repeated, detections = resampled(truth, found, weights)
    expected = evaluate_detections(repeated, detections, IDS).metrics["bbox"]["AP"]
    weighted = match_detections(truth, found, IDS).average_precision(weights[None])[0]
    assert weighted == pytest.approx(expected, abs=1e-12)
    assert 0.0 < expected < 1.0


def test_equal_detectors_differ_by_exactly_zero() -> None:
    truth, found = scene(1)
    interval = paired_bootstrap(truth, found, found, IDS, samples=20)
    assert (interval.low, interval.high, interval.mean) == (0.0, 0.0, 0.0)


def test_a_much_worse_detector_is_significant_and_the_sign_is_a_minus_b() -> None:
    truth, good = scene(2, noise=1.0)
    _, bad = scene(2, noise=15.0)
    interval = paired_bootstrap(truth, good, bad, IDS, samples=100)
    assert 0.0 < interval.low <= interval.mean <= interval.high
    mirrored = paired_bootstrap(truth, bad, good, IDS, samples=100)
    assert mirrored.high == pytest.approx(-interval.low)


def test_same_seed_same_interval() -> None:
    truth, first = scene(3)
    _, second = scene(3, noise=9.0)
    runs = [paired_bootstrap(truth, first, second, IDS, samples=30, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_no_objects_cannot_be_resampled() -> None:
    truth, found = scene(0)
    with pytest.raises(DataError, match="no ground-truth"):
        paired_bootstrap({**truth, "annotations": []}, found, found, IDS)
