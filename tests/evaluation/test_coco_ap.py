"""Laws of average precision, against pycocotools' own summary where it has one."""

import copy
import io
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_ap import evaluate_detections
from lth_deploy.evaluation.coco_rows import compact
from tests.evaluation.coco_truths import CATEGORY_IDS, ground_truth, nothing, perfect


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_repeating_the_annotations_is_perfect(kind: str) -> None:
    truth = ground_truth()
    metrics = evaluate_detections(truth, perfect(truth), CATEGORY_IDS, [kind]).metrics[kind]
    assert metrics["AP"] == pytest.approx(1.0, abs=1e-9)
    assert metrics["APl"] == pytest.approx(1.0, abs=1e-9)


def test_figures_equal_those_that_pycocotools_prints() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = ground_truth(seed=3)
    found = perfect(truth, shift=7.0)
    rows = [
        {
            "image_id": image,
            "category_id": CATEGORY_IDS[label - 1],
            "bbox": [*map(float, (*box[:2], *(box[2:] - box[:2])))],
            "score": float(score),
        }
        for image, one in found.items()
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]
    reference = COCO()
    reference.dataset = copy.deepcopy(truth)
    with redirect_stdout(io.StringIO()):
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = evaluate_detections(truth, found, CATEGORY_IDS, ["bbox"]).metrics["bbox"]
    assert [metrics[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")] == pytest.approx(
        list(evaluation.stats[:6]), abs=1e-12
    )
    assert 0.05 < metrics["AP"] < 0.95


def test_is_silent_and_leaves_its_inputs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    truth = ground_truth()
    before = copy.deepcopy(truth)
    evaluate_detections(truth, perfect(truth), CATEGORY_IDS, ["bbox", "segm", "keypoints"])
    assert truth == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("listed", [True, False])
def test_no_detections_give_zero(kind: str, listed: bool) -> None:
    truth = ground_truth()
    found = {image["id"]: nothing() for image in truth["images"]} if listed else {}
    metrics = evaluate_detections(truth, found, CATEGORY_IDS, [kind]).metrics[kind]
    assert metrics["AP"] == metrics["AP50"] == 0.0


def test_no_ground_truth_is_not_zero() -> None:
    truth = {**ground_truth(), "annotations": []}
    result = evaluate_detections(truth, {1: nothing()}, CATEGORY_IDS, ["bbox"])
    assert result.metrics["bbox"]["AP"] is None
    assert "no ground-truth" in result.notes[0]


def test_absent_sizes_are_none() -> None:
    truth = ground_truth()
    truth["annotations"] = [row for row in truth["annotations"] if row["area"] > 96**2]
    metrics = evaluate_detections(truth, perfect(truth), CATEGORY_IDS, ["bbox"]).metrics["bbox"]
    assert metrics["APs"] is None
    assert metrics["APl"] == pytest.approx(1.0)


def test_crowd_regions_neither_count_nor_hurt() -> None:
    truth = ground_truth()
    found = perfect(truth)
    truth["annotations"][0]["iscrowd"] = 1
    truth["annotations"][0]["segmentation"] = {"size": [160, 200], "counts": [0, 32000]}
    assert evaluate_detections(truth, found, CATEGORY_IDS, ["bbox"]).metrics["bbox"]["AP"] == pytest.approx(1)


def test_annotation_id_zero_does_not_change_the_figure() -> None:
    truth = ground_truth()
    truth["annotations"][0]["id"] = 0
    metrics = evaluate_detections(truth, perfect(truth), CATEGORY_IDS, ["bbox"]).metrics["bbox"]
    assert metrics["AP"] == pytest.approx(1.0)


def test_compact_detections_give_the_same_figures() -> None:
    truth = ground_truth()
    found = perfect(truth, shift=4.0)
    kinds = ["bbox", "segm", "keypoints"]
    whole = evaluate_detections(truth, found, CATEGORY_IDS, kinds)
    compacted = {image: compact(one) for image, one in found.items()}
    assert evaluate_detections(truth, compacted, CATEGORY_IDS, kinds) == whole


def test_other_keypoint_counts_say_which_tolerance_was_used() -> None:
    truth = ground_truth(points=3)
    assert "0.05" in evaluate_detections(truth, perfect(truth), CATEGORY_IDS, ["keypoints"]).notes[0]


def broken(field: str, value: object) -> Detections:
    base = {
        "boxes": np.array([[0, 0, 9, 9]], np.float32),
        "scores": np.array([0.5], np.float32),
        "labels": np.array([1]),
    }
    return Detections(**{**base, field: value})


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        (broken("scores", np.array([np.nan], np.float32)), "image 6.*score"),
        (broken("boxes", np.array([[0, 0, np.inf, 9]], np.float32)), "image 6.*coordinate"),
        (broken("boxes", np.array([[9, 0, 0, 9]], np.float32)), "image 6.*ends before"),
        (broken("labels", np.array([3])), "image 6.*labels 3"),
        (broken("labels", np.array([0])), "image 6.*labels 0"),
        (broken("boxes", np.zeros((2, 4), np.float32)), "image 6.*agree"),
    ],
)
def test_meaningless_detections_are_refused(detections: Detections, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_detections(ground_truth(), {6: detections}, CATEGORY_IDS, ["bbox"])


def test_unknown_images_categories_kinds_and_absent_heads_are_refused() -> None:
    truth = ground_truth()
    plain = {6: broken("scores", np.array([0.5], np.float32))}
    with pytest.raises(DataError, match=r"ids \[2\]"):
        evaluate_detections(truth, {2: nothing()}, CATEGORY_IDS)
    with pytest.raises(DataError, match=r"ids \[4\]"):
        evaluate_detections(truth, {}, (3, 4))
    with pytest.raises(DataError, match="unknown kind"):
        evaluate_detections(truth, {}, CATEGORY_IDS, ["boxes"])
    with pytest.raises(DataError, match="image 6 have no masks"):
        evaluate_detections(truth, plain, CATEGORY_IDS, ["segm"])
    with pytest.raises(DataError, match="keypoints"):
        evaluate_detections(truth, plain, CATEGORY_IDS, ["keypoints"])
    del truth["annotations"][2]["segmentation"]
    with pytest.raises(DataError, match="annotation 9 of image 1 has no segmentation"):
        evaluate_detections(truth, {}, CATEGORY_IDS, ["segm"])


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_the_fast_engine_computes_the_figures_of_pycocotools(kind: str) -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval comes with the extra 'train'")
    truth = ground_truth(seed=5, images=12)
    truth["annotations"][3]["iscrowd"] = 1
    if kind == "segm":
        (segmentation,) = truth["annotations"][3]["segmentation"]
        truth["annotations"][3]["segmentation"] = uncompressed(segmentation)
    found = perfect(truth, shift=6.0)
    del found[6]
    found[11] = nothing()
    reference = evaluate_detections(truth, found, CATEGORY_IDS, [kind]).metrics[kind]
    fast = evaluate_detections(truth, found, CATEGORY_IDS, [kind], engine="faster-coco-eval").metrics[kind]
    assert fast == pytest.approx(reference, abs=1e-12)
    assert 0.05 < reference["AP"] < 0.95
    assert evaluate_detections(truth, {}, CATEGORY_IDS, [kind], engine="faster-coco-eval").metrics[kind]["AP"] == 0


def test_the_fast_engine_agrees_on_drawn_detections_with_crowds_and_ties() -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval comes with the extra 'train'")
    from benchmarks.evaluation import drawn

    truth, found = drawn(60, 30, seed=1)
    for annotation in truth["annotations"][::9]:
        annotation["iscrowd"] = 1
    found = {image: replace(one, scores=np.round(one.scores, 1)) for image, one in found.items()}
    ids = [category["id"] for category in truth["categories"]]
    reference = evaluate_detections(truth, found, ids).metrics["bbox"]
    fast = evaluate_detections(truth, found, ids, engine="faster-coco-eval").metrics["bbox"]
    assert fast == pytest.approx(reference, abs=1e-12)


def test_without_the_fast_engine_pycocotools_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ground_truth()
    reference = evaluate_detections(truth, perfect(truth, 5.0), CATEGORY_IDS)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert evaluate_detections(truth, perfect(truth, 5.0), CATEGORY_IDS, engine="faster-coco-eval") == reference


def uncompressed(corners: list[float]) -> dict:
    """A polygon of a crowd region as the run lengths that COCO has there, on 200x160 images."""
    from pycocotools import mask as coder

    rows = coder.decode(coder.merge(coder.frPyObjects([corners], 160, 200)))
    values = rows.flatten(order="F")
    edges = np.flatnonzero(np.diff(values)) + 1
    counts = np.diff([0, *edges, len(values)]).tolist()
    return {"size": [160, 200], "counts": counts if values[0] == 0 else [0, *counts]}
