"""What is stored comes back, and what is damaged is refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_rows import CompactDetections, compact
from lth_deploy.evaluation.stored_detections import load_detections, save_detections
from tests.evaluation.coco_truths import ground_truth, nothing, perfect


def example() -> dict[int, CompactDetections]:
    document = ground_truth()
    return {image: compact(one) for image, one in perfect(document).items()}


def test_round_trip(tmp_path: Path) -> None:
    found = example()
    save_detections(tmp_path / "a", found)
    again = load_detections(tmp_path / "a")
    assert list(again) == list(found)
    for image, one in found.items():
        for name in ("boxes", "scores", "labels", "keypoints"):
            assert np.array_equal(getattr(again[image], name), getattr(one, name))
        assert again[image].masks == one.masks


def test_images_without_detections(tmp_path: Path) -> None:
    save_detections(tmp_path / "a", {4: compact(nothing()), 2: compact(nothing())})
    again = load_detections(tmp_path / "a")
    assert [(image, len(one)) for image, one in again.items()] == [(4, 0), (2, 0)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("counts", np.array([-1, 5, 4, 4], np.int64), "asks? for"),
        ("counts", np.array([2**62, 2**62, 2**62, 2**62], np.int64), "asks? for"),
        ("boxes", np.zeros((3, 4), np.float32), "'boxes' has the shape"),
        ("labels", np.zeros(16, np.int32), "'labels' is int32"),
        ("keypoints", np.zeros((3, 2, 3), np.float32), "'keypoints' has the shape"),
        ("mask_lengths", np.full(16, 10**9, np.int64), "lengths are not those"),
        ("mask_sizes", np.zeros((16, 3), np.int64), "not as many masks"),
        ("surprise", np.zeros(1, np.float64), "'surprise' is float64"),
    ],
)
def test_arrays_that_do_not_agree_are_refused(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    save_detections(tmp_path / "a", example())
    save_file({**load_file(tmp_path / "a"), name: value}, tmp_path / "a")
    with pytest.raises(DataError, match=message):
        load_detections(tmp_path / "a")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="delete the file"):
        load_detections(tmp_path / "a")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_detections(path, example())
    whole = path.read_bytes()
    (header,) = np.frombuffer(whole[:8], "<u8")
    for place in range(8 + int(header), len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="its digest does not fit; delete the file"):
            load_detections(path)
