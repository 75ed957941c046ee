"""Pixels: where they come to lie, their color and scale, and the way of boxes back to the image."""

import numpy as np
import pytest

from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.inputs import ImageInput, find_image_input
from lth_deploy.decoders.image.preprocessing import Preprocessing, normalized, placed
from lth_deploy.decoders.model.signature import Signature, TensorType
from lth_deploy.errors import ArtifactError
from lth_deploy.resampling import bilinear

SIZES = [(48, 64), (64, 48), (100, 30), (17, 91), (64, 64), (1, 300)]


def image_with_square(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A white square on black, and its box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = width // 4, height // 4, max(width // 4 + 1, 3 * width // 4), max(height // 4 + 1, 3 * height // 4)
    pixels[y1:y2, x1:x2] = 255
    return pixels, np.array([[x1, y1, x2, y2]], np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", [usual.YOLO, usual.YOLO_CORNER, usual.YOLOX, usual.STRETCHED, usual.YOLO_NAS])
def test_a_box_comes_back_to_where_its_pixels_are(how: Preprocessing, size: tuple[int, int]) -> None:
    pixels, box = image_with_square(*size)
    canvas, where = placed(pixels, 128, 160, how.model_copy(update={"resample": "bilinear", "pad": (0, 0, 0)}))
    bright = canvas[..., 0].astype(float) / 255  # the edge of a shape lies where its pixels sum up to
    if min(size) > 1:
        width, height = bright.max(axis=0).sum(), bright.max(axis=1).sum()
        left = np.argmax(bright.max(axis=0) >= 0.5)
        top = np.argmax(bright.max(axis=1) >= 0.5)
        found = where.to_image(np.array([[left, top, left + width, top + height]], np.float32))
        assert np.abs(found - box).max() <= 1.0 / min(where.scale_x, where.scale_y) + 1e-3
    corner = np.array([[where.left, where.top, where.left, where.top]], np.float32)
    assert where.to_image(corner).tolist() == [[0, 0, 0, 0]]
    far = corner + np.array([size[1] * where.scale_x, size[0] * where.scale_y] * 2, np.float32)
    assert where.to_image(far)[0] == pytest.approx([size[1], size[0]] * 2, abs=1e-3)


def test_letterbox_keeps_the_aspect_and_pads() -> None:
    white = np.full((48, 96, 3), 255, np.uint8)
    center, where = placed(white, 64, 64, usual.YOLO)
    assert (where.left, where.top, where.scale_x) == (0, 16, pytest.approx(64 / 96))
    assert (center[:16] == 114).all()
    assert (center[16:48] == 255).all()
    assert (center[48:] == 114).all()
    corner, where = placed(white, 64, 64, usual.YOLO_CORNER)
    assert (corner[:32] == 255).all()
    assert (corner[32:] == 114).all()
    assert where.top == 0


def test_the_longest_side_may_be_bounded() -> None:
    _, where = placed(np.zeros((100, 200, 3), np.uint8), 640, 640, usual.YOLO_NAS)
    assert (where.left, where.top) == (2, 161)
    assert where.scale_x == pytest.approx(636 / 200)


def test_values_are_scaled_then_shifted_in_the_order_of_the_channels() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    rgb = normalized(red, usual.IMAGENET)
    assert rgb[:, 0, 0] == pytest.approx([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375], abs=1e-5)
    bgr = normalized(red, usual.RTMDET)
    assert bgr[:, 0, 0] == pytest.approx([-103.53 / 57.375, -116.28 / 57.12, (255 - 123.675) / 58.395], abs=1e-5)
    assert normalized(red, usual.YOLO)[:, 0, 0].tolist() == [1, 0, 0]
    assert normalized(red, usual.YOLOX)[:, 0, 0].tolist() == [0, 0, 255]
    assert normalized(red, usual.PIXELS, np.uint8).dtype == np.uint8


def test_bilinear_is_exact_on_a_ramp() -> None:
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    found = bilinear(ramp, 4, 50)[0, :, 0].astype(float)
    assert found == pytest.approx(np.arange(50) * 4 + 1, abs=0.51)  # the middle of two pixels each
    assert (bilinear(ramp, 4, 100) == ramp).all()
    assert bilinear(ramp, 8, 200).shape == (8, 200, 3)


def test_integer_grid_counts_from_the_middle_of_the_first_pixel() -> None:
    """As an affine transform of positions: x_input = (x - w/2) r + W/2, without half pixels."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10, 30] = 255
    canvas, where = placed(pixels, 80, 80, usual.CENTERNET)
    assert np.unravel_index(canvas[..., 0].argmax(), (80, 80)) == (20, 60)
    assert where.to_image(np.array([[60, 20, 60, 20]], np.float32)).tolist() == [[30, 10, 30, 10]]
    flat, where = placed(np.full((20, 40, 3), 200, np.uint8), 80, 80, usual.CENTERNET)
    assert (flat[:18] == 0).all()
    # As OpenCV, the last column lies half between the last pixel and the black around.
    assert (flat[20:58, :79] == 200).all()
    assert where.top == 20


@pytest.mark.parametrize(
    ("dtype", "shape", "layout"),
    [
        ("float32", (1, 3, 32, 48), "NCHW"),
        ("uint8", (1, 32, 48, 3), "NHWC"),
        ("float16", (3, 32, 48), "CHW"),
        ("uint8", (32, 48, 3), "HWC"),
        ("float32", (None, 3, None, None), "NCHW"),
    ],
)
def test_the_image_input_is_found_by_its_channels(dtype: str, shape: tuple[int | None, ...], layout: str) -> None:
    found = find_image_input(Signature([TensorType("x", dtype, shape)], []), None, (32, 48))
    assert isinstance(found, ImageInput)
    assert (found.layout, found.height, found.width) == (layout, 32, 48)
    feeds, _ = found.feeds(np.zeros((7, 9, 3), np.uint8), usual.PIXELS)
    assert feeds["x"].dtype == dtype
    assert feeds["x"].shape == (shape if all(shape) else (1, 3, 32, 48))


def test_inputs_beside_the_image_get_its_sizes() -> None:
    inputs = [
        TensorType("image", "float32", (1, 3, 20, 40)),
        TensorType("scale_factor", "float32", (1, 2)),
        TensorType("orig_target_sizes", "int64", (1, 2)),
        TensorType("im_shape", "float32", (1, 2)),
    ]
    found = find_image_input(Signature(inputs, []), None, (640, 640))
    assert isinstance(found, ImageInput)
    feeds, _ = found.feeds(np.zeros((10, 80, 3), np.uint8), usual.STRETCHED)
    assert feeds["scale_factor"].tolist() == [[2.0, 0.5]]
    assert feeds["orig_target_sizes"].tolist() == [[80, 10]]
    assert feeds["im_shape"].tolist() == [[20, 40]]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([TensorType("x", "float32", (1, 1, 8, 8))], "no inputs for an image of 3 channels"),
        ([TensorType("x", "float32", (4, 3, 8, 8))], "4 images at once"),
        ([TensorType("x", "int64", (1, 3, 8, 8))], "of none of the types"),
        ([TensorType("x", "float32", (1, 3, 8, 8)), TensorType("t", "float32", (1,))], "nobody says what its input"),
    ],
)
def test_inputs_that_are_no_single_image_are_named(inputs: list[TensorType], words: str) -> None:
    found = find_image_input(Signature(inputs, []), None, (8, 8))
    assert isinstance(found, str)
    assert words in found


def test_preprocessing_of_a_file_is_checked_by_name() -> None:
    for how in (usual.YOLO, usual.CENTERNET, usual.NANODET, usual.YOLO_NAS):
        assert Preprocessing.from_data(how.model_dump(mode="json", exclude_defaults=True)) == how
    for wrong, place in [({"fit": "crop"}, "fit"), ({"std": [0, 1, 1]}, "std.0"), ({"angle": 3}, "angle")]:
        with pytest.raises(ArtifactError, match=place):
            Preprocessing.from_data(wrong)
