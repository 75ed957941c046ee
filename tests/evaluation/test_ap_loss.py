"""Lost AP: what is excused as chance and what is not."""

import logging

import numpy as np
import pytest

from lth_deploy.compiler.artifact.metadata import Quantization
from lth_deploy.detections import Detections
from lth_deploy.errors import GateError
from lth_deploy.evaluation.ap_loss import CHANCE, ApLoss, Scores, ap_losses, surely_above
from lth_deploy.evaluation.bootstrap import Interval, match_detections, paired_bootstrap
from lth_deploy.evaluation.coco_ap import evaluate_detections
from lth_deploy.workflow.gates.quantized_ap import hold_quantized_ap
from tests.evaluation.scenes import IDS, scene

ERRORS = Quantization(method="mse", images=4, errors={"head.weight": 0.2})


def scores(truth: dict, found: dict[int, Detections]) -> Scores:
    metrics = evaluate_detections(truth, found, IDS).metrics
    return Scores(metrics, {"bbox": match_detections(truth, found, IDS)})


def moved(found: dict[int, Detections], pixels: float, images: set[int] | None = None) -> dict[int, Detections]:
    """The detections with boxes beside their place, in some images."""
    return {
        image: Detections(one.boxes + np.float32(pixels), one.scores, one.labels)
        if images is None or image in images
        else one
        for image, one in found.items()
    }


def test_the_interval_is_that_of_the_paired_bootstrap() -> None:
    truth, found = scene(3, images=24)
    other = moved(found, 2.0)
    (loss,) = ap_losses(scores(truth, found), scores(truth, other), samples=300)
    assert loss.interval == paired_bootstrap(truth, found, other, IDS, samples=300)
    assert loss.value == pytest.approx(loss.before - loss.after)
    assert "95 % interval" in loss.text()


def test_of_scores_without_detections_the_figures_decide() -> None:
    (loss,) = ap_losses(Scores({"bbox": {"AP": 0.5}}), Scores({"bbox": {"AP": 0.494}}))
    assert loss.interval is None
    assert loss.is_surely_above(0.005)
    assert not loss.is_surely_above(0.007)
    assert ap_losses(Scores({"bbox": {"AP": None}}), Scores({"bbox": {"AP": 0.4}})) == []


@pytest.mark.parametrize("images", [1, 3, 24])
def test_a_broken_file_is_refused_however_few_the_images(images: int) -> None:
    truth, found = scene(3, images=images)
    assert truth["annotations"]
    broken = moved(found, 500.0)
    with pytest.raises(GateError, match=r"quantization costs .* to 0\.00, 95 % interval .* head\.weight"):
        hold_quantized_ap(scores(truth, found), scores(truth, broken), 0.005, ERRORS)


def test_what_one_image_of_many_loses_may_be_chance(caplog: pytest.LogCaptureFixture) -> None:
    truth, found = scene(3, images=40)
    before = scores(truth, found)
    lost = next(
        after
        for image in found
        for after in [scores(truth, moved(found, 6.0, {image}))]
        if 0.005 < before.metrics["bbox"]["AP"] - after.metrics["bbox"]["AP"] < 0.02
    )
    with caplog.at_level(logging.WARNING):
        hold_quantized_ap(before, lost, 0.005, ERRORS)
    assert "may be chance" in caplog.text
    with pytest.raises(GateError, match=r"allowed are 0\.50"):
        hold_quantized_ap(before, lost, 0.005, ERRORS, strict=True)


def test_what_all_images_lose_is_no_chance() -> None:
    truth, found = scene(3, images=200, noise=1.0)
    before, after = scores(truth, found), scores(truth, moved(found, 0.5))
    (loss,) = ap_losses(before, after)
    assert loss.interval is not None
    assert loss.interval.low > 0.005
    assert loss.value < 0.005 + CHANCE
    with pytest.raises(GateError, match=r"allowed are 0\.50"):
        hold_quantized_ap(before, after, 0.005, ERRORS)


def test_no_interval_excuses_more_than_the_limit() -> None:
    wide = Interval(-0.2, 0.3, 0.04)
    assert ApLoss("bbox", 0.5, 0.46, wide).is_surely_above(0.005)
    assert not ApLoss("bbox", 0.5, 0.48, wide).is_surely_above(0.005)
    assert not surely_above(0.004, 0.006, 0.005)
