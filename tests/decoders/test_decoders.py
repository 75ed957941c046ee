"""Decoders: names, foreign files, geometry that must survive the letterbox, and malformed outputs."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.decoders import load_decoder
from lth_deploy.decoders.boxes.suppression import suppress
from lth_deploy.decoders.lth import LthDecoder
from lth_deploy.errors import ArtifactError, UsageError
from tests.decoders.models import fitted, signature

LTH = LthDecoder()
NANODET = fitted(
    "nanodet",
    signature(
        {
            **{f"cls{stride}": (1, (416 // stride) ** 2, 80) for stride in (8, 16, 32)},
            **{f"reg{stride}": (1, (416 // stride) ** 2, 44) for stride in (8, 16, 32)},
        },
        416,
    ),
)


def nanodet_outputs(cells: dict[tuple[int, int, int], tuple[int, float, float]]) -> dict[str, np.ndarray]:
    """Outputs with one object a (stride, row, column): class, score, distance in cells to each side."""
    outputs = {}
    for stride in (8, 16, 32):
        count = 416 // stride
        outputs[f"cls{stride}"] = np.zeros((1, count * count, 80), np.float32)
        outputs[f"reg{stride}"] = np.zeros((1, count * count, 44), np.float32)
    for (stride, row, column), (label, score, distance) in cells.items():
        position = row * (416 // stride) + column
        outputs[f"cls{stride}"][0, position, label] = score
        bins = np.full((4, 11), -50.0)
        low = int(distance)
        bins[:, low] = np.log(max(1 - (distance - low), 1e-12))
        bins[:, low + 1] = np.log(max(distance - low, 1e-12))
        outputs[f"reg{stride}"][0, position] = bins.reshape(-1)
    return outputs


def test_nanodet_boxes_land_where_the_object_is_in_the_photo() -> None:
    photo = np.zeros((208, 416, 3), np.uint8)
    _, context = NANODET.prepare(photo)
    found = NANODET.decode(nanodet_outputs({(16, 13, 4): (2, 0.9, 2.5)}), context)
    center_x, center_y = 4.5 * 16, 13.5 * 16 - 104
    expected = [center_x - 40, center_y - 40, center_x + 40, center_y + 40]
    assert found.boxes[0] == pytest.approx(expected, abs=1e-2)
    assert found.labels.tolist() == [3]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_nanodet_scales_back_and_clips_to_the_photo() -> None:
    photo = np.zeros((832, 832, 3), np.uint8)
    _, context = NANODET.prepare(photo)
    found = NANODET.decode(nanodet_outputs({(32, 0, 0): (0, 0.5, 1.0)}), context)
    assert found.boxes[0] == pytest.approx([0, 0, 96, 96], abs=1e-2)


def test_nanodet_input_is_bgr_normalized_and_centered_on_black() -> None:
    photo = np.zeros((208, 416, 3), np.uint8)
    photo[...] = (255, 0, 0)
    planes = NANODET.prepare(photo)[0]["images"]
    assert planes.shape == (1, 3, 416, 416)
    assert planes[0, 2, 208, 208] == pytest.approx((255 - 123.675) / 58.395, abs=1e-5)
    assert planes[0, 0, 208, 208] == pytest.approx(-103.53 / 57.375, abs=1e-5)
    assert planes[0, 2, 50, 208] == pytest.approx(-123.675 / 58.395, abs=1e-5)


def test_nanodet_without_objects_finds_nothing() -> None:
    _, context = NANODET.prepare(np.zeros((9, 700, 3), np.uint8))
    found = NANODET.decode(nanodet_outputs({}), context)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("fault", ["absent", "shape"])
def test_nanodet_refuses_another_models_outputs(fault: str) -> None:
    _, context = NANODET.prepare(np.zeros((60, 60, 3), np.uint8))
    outputs = nanodet_outputs({})
    if fault == "absent":
        del outputs["reg16"]
    else:
        outputs["reg16"] = outputs["reg16"][:, :, :40]
    with pytest.raises(ArtifactError, match="reg16"):
        NANODET.decode(outputs, context)


def test_suppression_is_by_class_and_keeps_the_best() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9.5], [50, 50, 60, 60]], np.float32)
    kept = suppress(boxes, np.array([0.5, 0.9, 0.8, 0.1], np.float32), np.array([1, 1, 2, 1]), 0.6)
    assert kept.tolist() == [1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_leaves_no_overlap_and_explains_every_loss(seed: int) -> None:
    from lth_deploy.measure.parity import box_iou

    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 60, (80, 2))
    boxes = np.hstack([corners, corners + generator.uniform(5, 40, (80, 2))]).astype(np.float32)
    scores = generator.uniform(0, 1, 80).astype(np.float32)
    labels = generator.integers(0, 3, 80)
    kept = suppress(boxes, scores, labels, 0.5)
    overlap = box_iou(boxes, boxes) > 0.5
    same = labels[:, None] == labels[None]
    for position in range(80):
        others = [int(other) for other in kept if other != position and same[position, other]]
        hit = [other for other in others if overlap[position, other] and scores[other] > scores[position]]
        assert bool(hit) == (position not in kept)


def outputs_of_two() -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([[0, 0, 5, 5], [1, 1, 6, 6]], np.float32),
        "scores": np.array([0.2, 0.7], np.float32),
        "labels": np.array([1, 2]),
        "masks": np.stack([np.zeros((8, 9)), np.ones((8, 9))]).astype(np.float32),
        "keypoints": np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3),
    }


def test_lth_sorts_every_head_by_score() -> None:
    found = LTH.decode(outputs_of_two(), (8, 9))
    assert found.labels.tolist() == [2, 1]
    assert found.masks is not None
    assert found.masks[0].all()
    assert found.keypoints is not None
    assert found.keypoints[1, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", np.zeros((3, 4), np.float32)),
        ("labels", np.zeros(1, np.int64)),
        ("masks", np.zeros((2, 9, 8), np.float32)),
        ("keypoints", np.zeros((2, 4, 2), np.float32)),
    ],
)
def test_lth_refuses_heads_that_disagree(name: str, value: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match=name):
        LTH.decode({**outputs_of_two(), name: value}, (8, 9))


def test_lth_says_that_a_foreign_model_needs_its_own_decoder() -> None:
    with pytest.raises(ArtifactError, match="--decoder"):
        LTH.decode({"cls8": np.zeros(1)}, (8, 9))


def test_users_own_decoder_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from lth_deploy.decoders.lth import LthDecoder\ndef make():\n    return LthDecoder()\n"
        "def wrong():\n    return 3\n"
    )
    assert load_decoder(f"{file}:make").class_names is None
    for name, message in [
        (f"{file}:wrong", "int"),
        (f"{file}:absent", "absent"),
        (f"{tmp_path}/no.py:f", "no file"),
    ]:
        with pytest.raises(UsageError, match=message):
            load_decoder(name)
