"""Each family on outputs whose detections are known by construction."""

import numpy as np
import pytest

from lth_deploy.decoders import DECODERS
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.errors import ArtifactError
from tests.decoders.models import Arrays, Shapes, fitted, placed_as, signature

CELLS = 64 + 16 + 4
"""Of strides 8, 16 and 32 on 64 pixels."""

BOX = np.array([10.0, 12.0, 30.0, 44.0], np.float32)
"""An object, as corners in pixels of the input."""

CENTER = np.array([20.0, 28.0, 20.0, 32.0], np.float32)
"""The same as center and size."""


def rows(columns: int, **at: tuple[int, list[float]]) -> np.ndarray:
    """[1, CELLS, columns] of small boxes without score; `at` gives a row for a cell."""
    found = np.zeros((1, CELLS, columns), np.float32)
    for cell, values in at.values():
        found[0, cell] = values
    return found


def yolo() -> Arrays:
    return {"output0": rows(7, a=(70, [*CENTER, 0.0, 0.9, 0.0]), b=(71, [*CENTER, 0.0, 0.8, 0.0])).transpose(0, 2, 1)}


def yolo_corners() -> Arrays:
    return {"output0": rows(7, a=(70, [*BOX, 0.0, 0.9, 0.0])).transpose(0, 2, 1)}


def objectness() -> Arrays:
    found = np.zeros((1, 3 * CELLS, 8), np.float32)
    found[0, 100] = [*CENTER, 0.9, 0.0, 1.0, 0.0]
    return {"output": found}


def end_to_end() -> Arrays:
    found = np.zeros((1, 20, 6), np.float32)
    found[0, 0] = [*BOX, 0.9, 1]
    return {"output0": found}


def yolox() -> Arrays:
    """Cell 70 is the 7th of stride 16: column 2, row 1."""
    box = [20 / 16 - 2, 28 / 16 - 1, np.log(20 / 16), np.log(32 / 16)]
    return {"output": rows(8, a=(70, [*box, 0.9, 0.0, 1.0, 0.0]))}


def yolox_decoded() -> Arrays:
    return {"output": rows(8, a=(70, [*CENTER, 0.9, 0.0, 1.0, 0.0]))}


def detr() -> Arrays:
    logits = np.full((1, 10, 3), -20, np.float32)
    logits[0, 4, 1] = np.log(0.9 / 0.1)
    boxes = np.full((1, 10, 4), 0.5, np.float32)
    boxes[0, 4] = CENTER / 64
    return {"pred_logits": logits, "pred_boxes": boxes}


def detr_softmax() -> Arrays:
    found = detr()
    logits = np.full((1, 10, 4), -20, np.float32)
    logits[0, :, 3] = 0
    logits[0, 4] = [-20, np.log(9), -20, 0]
    return {"logits": logits, "pred_boxes": found["pred_boxes"]}


def detr_joined() -> Arrays:
    found = np.zeros((1, 10, 7), np.float32)
    found[0, 4] = [*(CENTER / 64), 0.0, 0.9, 0.0]
    return {"output0": found}


def paddle_pair() -> Arrays:
    joined = rows(7, a=(70, [*BOX, 0.0, 0.9, 0.0]))
    return {"boxes": joined[..., :4], "scores": joined[..., 4:].transpose(0, 2, 1)}


def cells_pair() -> Arrays:
    joined = rows(7, a=(70, [*BOX, 0.0, 0.9, 0.0]))
    return {"scores": joined[..., 4:], "boxes": joined[..., :4]}


def picodet() -> Arrays:
    found = np.zeros((1, CELLS + 1, 7), np.float32)
    found[0, 70] = [*BOX, 0.0, 0.9, 0.0]
    return {"output": found}


def rtmdet() -> Arrays:
    return {"output": rows(7, a=(70, [*BOX, 0.0, 0.9, 0.0]))}


def mmdeploy() -> Arrays:
    found = np.zeros((1, 5, 5), np.float32)
    found[0, 0] = [*BOX, 0.9]
    return {"dets": found, "labels": np.array([[1, 0, 0, -1, -1]])}


def candidates() -> Arrays:
    found = np.zeros((1, 2000, 6), np.float32)
    found[..., 5] = -1
    found[0, 3], found[0, 9] = [*BOX, 0.9, 1], [*BOX, 0.8, 1]
    return {"output": found}


def heatmaps() -> Arrays:
    """CenterNet counts from the middle of the first pixel, and so does its box."""
    heat, sizes, offsets = np.zeros((1, 3, 16, 16)), np.zeros((1, 2, 16, 16)), np.zeros((1, 2, 16, 16))
    heat[0, 1, 7, 5], heat[0, 1, 7, 6], heat[0, 1, 6, 5] = 0.9, 0.7, 0.6
    sizes[0, :, 7, 5] = [20 / 4, 32 / 4]
    return {name: value.astype(np.float32) for name, value in {"hm": heat, "wh": sizes, "reg": offsets}.items()}


def heatmaps_of_logits() -> Arrays:
    found = heatmaps()
    with np.errstate(divide="ignore"):
        found["hm"] = np.maximum(np.log(found["hm"] / (1 - found["hm"])), -30).astype(np.float32)
    return found


def ssd300() -> Arrays:
    found = np.zeros((1, 7, 8732), np.float32)
    found[0, :, 5000], found[0, :, 5001] = [*BOX, 0.0, 0.9, 0.0], [*(BOX + 1), 0.0, 0.8, 0.0]
    return {"output": found}


def torchvision() -> Arrays:
    return {"boxes": BOX[None], "scores": np.array([0.9], np.float32), "labels": np.array([2])}


def tensorflow() -> Arrays:
    boxes = np.zeros((1, 3, 4), np.float32)
    boxes[0, 0] = BOX[[1, 0, 3, 2]] / 64
    return {
        "detection_boxes": boxes,
        "detection_scores": np.array([[0.9, 0, 0]], np.float32),
        "detection_classes": np.array([[2, 1, 1]], np.float32),
    }


def normalized_corners() -> Arrays:
    return {"bboxes": BOX[None, None] / 64, "scores": np.array([[0.9]], np.float32), "labels": np.array([[2]])}


def counted() -> Arrays:
    boxes, scores = np.zeros((1, 6, 4), np.float32), np.full((1, 6), 0.5, np.float32)
    boxes[0, :2], scores[0, 0] = BOX, 0.9
    labels = np.array([[1, 2, 2, 2, 2, 2]])
    return {"num_dets": np.array([[1]]), "det_boxes": boxes, "det_scores": scores, "label_ids": labels}


def selected() -> Arrays:
    joined = rows(7, a=(70, [*BOX, 0.0, 0.9, 0.0]))
    joined[0, 70, :4] = BOX[[2, 3, 0, 1]]  # any two corners that face each other
    return {
        "index": np.array([[0, 1, 70]]),
        "boxes": joined[..., :4],
        "scores": joined[..., 4:].transpose(0, 2, 1),
    }


def selected_centers() -> Arrays:
    found = selected()
    found["boxes"][0, 70] = CENTER
    return found


def rows_of_seven() -> Arrays:
    return {"output": np.array([[0, *BOX, 1, 0.9]], np.float32)}


MADE = [
    ("yolo", yolo, {}),
    ("yolo", yolo_corners, {"boxes": "corners"}),
    ("yolo", objectness, {}),
    ("yolo-e2e", end_to_end, {}),
    ("yolox", yolox, {}),
    ("yolox", yolox_decoded, {"boxes": "decoded"}),
    ("detr", detr, {}),
    ("detr", detr_softmax, {"scores": "softmax"}),
    ("detr", detr_joined, {}),
    ("picodet", picodet, {}),
    ("ppyoloe", paddle_pair, {}),
    ("ppyoloe", cells_pair, {}),
    ("yolonas", cells_pair, {}),
    ("rtmdet", rtmdet, {}),
    ("rtmdet", mmdeploy, {}),
    ("efficientdet", candidates, {}),
    ("centernet", heatmaps, {}),
    ("centernet", heatmaps_of_logits, {}),
    ("ssd", ssd300, {}),
    ("ssd", torchvision, {}),
    ("ssd", tensorflow, {}),
    ("ssd", normalized_corners, {}),
    ("nms", counted, {}),
    ("nms", selected, {}),
    ("nms", selected_centers, {"boxes": "center"}),
    ("nms", rows_of_seven, {}),
]
IDS = [f"{name}-{make.__name__}" for name, make, _ in MADE]


def shapes(outputs: Arrays) -> Shapes:
    return {name: value.shape for name, value in outputs.items()}


def hints(name: str, options: dict[str, str]) -> Hints:
    return Hints(families=(name,), names=("cell", "dust", "moon"), options=options)


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_one_object_is_found_where_it_is(name, make, options) -> None:
    outputs = make()
    decoder = fitted(name, signature(shapes(outputs)), hints(name, options))
    found = decoder.decode(outputs, placed_as(decoder))
    assert found.labels.tolist() == [2] * len(found)
    assert found.boxes[0] == pytest.approx(BOX, abs=0.02)
    assert found.scores[0] == pytest.approx(0.9, abs=1e-5)
    assert len(found) == 1
    assert decoder.class_names == ("cell", "dust", "moon")
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_boxes_lie_in_the_image_however_large_it_is(name, make, options) -> None:
    """Of an image twice as wide and four times as high as the input."""
    outputs = make()
    decoder = fitted(name, signature(shapes(outputs)), hints(name, options))
    where = placed_as(decoder, 256, 128)
    found = decoder.decode(outputs, where)
    expected = where.to_image(BOX[None])[0]
    assert found.boxes[0] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_no_object_is_an_empty_result(name, make, options) -> None:
    outputs = {key: np.full_like(value, -30 if "logits" in key else 0) for key, value in make().items()}
    if name == "detr" and options.get("scores") == "softmax":
        outputs["logits"][..., -1] = 30
    found = fitted(name, signature(shapes(outputs)), hints(name, options))
    result = found.decode(outputs, placed_as(found))
    assert (len(result), result.boxes.shape, result.labels.shape) == (0, (0, 4), (0,))


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_what_is_no_number_is_refused(name, make, options) -> None:
    outputs = make()
    decoder = fitted(name, signature(shapes(outputs)), hints(name, options))
    for key, value in outputs.items():
        if value.dtype.kind == "f":
            with pytest.raises(ArtifactError, match="no numbers"):
                decoder.decode({**outputs, key: np.full_like(value, np.nan)}, placed_as(decoder))


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_an_output_of_another_shape_is_named_with_both(name, make, options) -> None:
    outputs = make()
    decoder = fitted(name, signature(shapes(outputs)), hints(name, options))
    for key, value in outputs.items():
        with pytest.raises(ArtifactError, match=rf"'{key}'.*was expected"):
            decoder.decode({**outputs, key: value[None, None]}, placed_as(decoder))
        with pytest.raises(ArtifactError, match=rf"no output '{key}'"):
            decoder.decode({other: outputs[other] for other in outputs if other != key}, placed_as(decoder))


@pytest.mark.parametrize(("name", "make", "options"), MADE, ids=IDS)
def test_a_decoder_is_made_again_from_what_an_artifact_records(name, make, options) -> None:
    outputs = make()
    model = signature(shapes(outputs))
    first = fitted(name, model, hints(name, options))
    given = dict(first.options)
    opened = signature({key: (1, *(None for _ in size[1:])) for key, size in shapes(outputs).items()})
    if name == "nanodet" or any(len(size) < 3 for size in shapes(outputs).values()):
        opened = model
    again = fitted(name, opened, Hints(None, (name,), first.class_names, None, first.preprocessing, given))
    where = placed_as(first, 100, 70)
    assert placed_as(again, 100, 70) == where
    assert again.decode(outputs, where).boxes.tolist() == first.decode(outputs, where).boxes.tolist()


def test_boxes_of_the_image_stay_as_they_are() -> None:
    """Graphs that have the size of the image as an input give boxes in its pixels."""
    inputs = {"images": ("float32", (1, 3, 64, 64)), "orig_target_sizes": ("int64", (1, 2))}
    outputs = {
        "labels": np.array([[1, 0]]),
        "boxes": np.array([[[10, 20, 300, 400], [0, 0, 900, 900]]], np.float32),
        "scores": np.array([[0.4, 0.6]], np.float32),
    }
    decoder = fitted("detr", signature(shapes(outputs), inputs=inputs))
    feeds, where = decoder.prepare(np.zeros((500, 700, 3), np.uint8))
    assert feeds["orig_target_sizes"].tolist() == [[700, 500]]
    found = decoder.decode(outputs, where)
    assert found.boxes.tolist() == [[0, 0, 700, 500], [10, 20, 300, 400]]
    assert found.labels.tolist() == [1, 2]


def test_paddles_suppressed_rows_are_class_score_and_box() -> None:
    inputs = {"image": ("float32", (1, 3, 64, 64)), "scale_factor": ("float32", (1, 2))}
    outputs = {"rows": np.array([[2, 0.9, 10, 20, 30, 40], [0, 0.5, 1, 2, 3, 4]], np.float32)}
    model = signature({"rows": (None, 6), "num": (1,)}, inputs=inputs)
    decoder = fitted("ppyoloe", model)
    found = decoder.decode({**outputs, "num": np.array([2])}, placed_as(decoder, 200, 200))
    assert found.boxes.tolist() == [[10, 20, 30, 40], [1, 2, 3, 4]]
    assert found.labels.tolist() == [3, 1]


def test_coco_with_its_gaps_has_80_classes() -> None:
    """Of 91 columns, those are classes that are category ids of COCO."""
    logits = np.full((1, 10, 91), -20, np.float32)
    logits[0, 4, 90] = 20  # toothbrush, the last
    logits[0, 5, 12] = 20  # no category
    decoder = fitted("detr", signature({"pred_logits": (1, 10, 91), "pred_boxes": (1, 10, 4)}))
    found = decoder.decode(
        {"pred_logits": logits, "pred_boxes": np.full((1, 10, 4), 0.5, np.float32)}, placed_as(decoder)
    )
    assert decoder.class_names is not None
    assert decoder.class_names[79] == "toothbrush"
    assert found.labels.tolist() == [80]


def test_a_class_keeps_its_own_boxes_and_a_box_its_classes() -> None:
    """YOLO scores each class of a box, as its validation does; at most 300 detections stay."""
    values = np.zeros((1, CELLS, 84), np.float32)
    values[0, :, :4] = CENTER
    values[0, :, 4:] = np.random.default_rng(0).uniform(0.1, 0.9, (CELLS, 80))
    decoder = fitted("yolo", signature({"output0": (1, 84, CELLS)}))
    found = decoder.decode({"output0": values.transpose(0, 2, 1)}, placed_as(decoder))
    assert sorted(found.labels.tolist()) == list(range(1, 81))
    assert (np.diff(found.scores) <= 0).all()
    values[0, :, :2] = np.random.default_rng(1).uniform(0, 64, (CELLS, 2))
    values[0, :, 2:4] = 1
    assert len(decoder.decode({"output0": values.transpose(0, 2, 1)}, placed_as(decoder))) == 300


def test_every_registered_family_is_tested() -> None:
    assert set(DECODERS) - {"lth", "nanodet"} == {name for name, _, _ in MADE}
