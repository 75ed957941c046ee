"""What draw and side_by_side promise, whatever the detector says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.reporting.drawing.detections import compare, draw, encode_png, side_by_side
from lth_deploy.reporting.drawing.labels import color_of

NAMES = ["RBC", "WBC", "<b>plate\nlet</b>"]


def photo(height: int = 60, width: int = 90) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def found(boxes: list[list[float]], scores: list[float], labels: list[int], **more: np.ndarray) -> Detections:
    return Detections(
        np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        np.asarray(scores, dtype=np.float32),
        np.asarray(labels, dtype=np.int64),
        **more,
    )


def test_nothing_found_leaves_the_photo_as_it_is() -> None:
    image = photo()
    assert np.array_equal(draw(image, found([], [], []), NAMES), image)


def test_the_input_is_not_changed_and_the_size_stays() -> None:
    image = photo()
    before = image.copy()
    drawn = draw(image, found([[10, 20, 50, 50]], [0.9], [1]), NAMES)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(image, before)
    assert not np.array_equal(drawn, image)


def test_only_detections_above_the_threshold_are_drawn() -> None:
    boxes, image = [[5, 20, 40, 50], [50, 20, 80, 50]], photo()
    both = found(boxes, [0.9, 0.4], [1, 2])
    assert np.array_equal(draw(image, both, NAMES, 0.5), draw(image, both.select(np.array([0])), NAMES, 0.5))
    assert not np.array_equal(draw(image, both, NAMES, 0.3), draw(image, both, NAMES, 0.5))


def test_the_box_has_the_color_of_its_class() -> None:
    for label in (1, 2, 3):
        drawn = draw(photo(), found([[20, 20, 60, 50]], [0.9], [label]), NAMES)
        assert tuple(drawn[35, 20]) == color_of(label)


def test_classes_have_different_colors() -> None:
    assert len({color_of(label) for label in range(1, 92)}) == 91


def test_a_mask_tints_its_pixels_only() -> None:
    mask = np.zeros((1, 60, 90), dtype=np.float32)
    mask[0, 25:45, 30:55] = 0.9
    drawn = draw(photo(), found([[20, 20, 70, 55]], [0.9], [2], masks=mask), NAMES)
    assert tuple(drawn[35, 40]) != (128, 128, 128)
    assert tuple(drawn[50, 65]) == (128, 128, 128)


def test_keypoints_are_drawn_where_they_are_seen() -> None:
    points = np.array([[[30, 30, 1], [60, 40, 0], [np.nan, 5, 1]]], dtype=np.float32)
    drawn = draw(photo(), found([[20, 20, 70, 55]], [0.9], [1], keypoints=points), NAMES, skeleton=[(1, 2), (1, 9)])
    assert tuple(drawn[30, 30]) == color_of(1)
    assert tuple(drawn[40, 60]) == (128, 128, 128)


def test_bones_join_the_keypoints_of_the_skeleton() -> None:
    points = np.array([[[30, 30, 1], [60, 30, 1]]], dtype=np.float32)
    one = found([[20, 20, 70, 55]], [0.9], [1], keypoints=points)
    assert tuple(draw(photo(), one, NAMES)[30, 45]) == (128, 128, 128)
    assert tuple(draw(photo(), one, NAMES, skeleton=[(1, 2)])[30, 45]) == color_of(1)


def test_scale_enlarges_the_canvas_and_the_boxes_alike() -> None:
    drawn = draw(photo(), found([[20, 20, 60, 50]], [0.9], [1]), NAMES, scale=3)
    assert drawn.shape == (180, 270, 3)
    assert tuple(drawn[105, 60]) == color_of(1)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(width=32), min_size=4, max_size=4),
            st.floats(0, 1, width=32),
            st.integers(0, 300),
        ),
        max_size=6,
    )
)
def test_no_detection_can_break_the_drawing(rows: list[tuple[list[float], float, int]]) -> None:
    boxes, scores, labels = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    assert draw(photo(20, 30), found(boxes, scores, labels), NAMES, 0.1).shape == (20, 30, 3)


def test_a_wrong_image_is_refused_with_its_shape() -> None:
    with pytest.raises(DataError, match="float32"):
        draw(np.zeros((4, 4, 3), dtype=np.float32), found([], [], []), NAMES)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="masks"):
        draw(photo(), found([[1, 1, 5, 5]], [0.9], [1], masks=np.zeros((1, 28, 28), np.float32)), NAMES)


def test_side_by_side_keeps_every_pixel_of_every_picture() -> None:
    left, right = photo(40, 50), np.full((60, 70, 3), 7, dtype=np.uint8)
    sheet = side_by_side([left, right], ["dense", "<ticket>"], gap=6)
    strip = sheet.shape[0] - 60
    assert sheet.shape[1] == 50 + 6 + 70
    assert np.array_equal(sheet[strip : strip + 40, :50], left)
    assert np.array_equal(sheet[strip:, 56:], right)
    with pytest.raises(DataError, match="title"):
        side_by_side([left], [])


def test_a_comparison_shows_each_entry_and_survives_png() -> None:
    nothing = found([], [], [])
    sheet = compare(photo(), {"dense": nothing, "ticket": found([[20, 20, 60, 50]], [0.9], [1])}, NAMES)
    half = sheet.shape[1] // 2
    assert not np.array_equal(sheet[60:, : half - 4], sheet[60:, half + 4 :])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(sheet)))), sheet)
