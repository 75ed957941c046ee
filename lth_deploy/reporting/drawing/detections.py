"""Photos with the detections drawn on them: boxes, masks and keypoints. Needs Pillow and numpy only."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lth_deploy.detections import Detections, FloatArray
from lth_deploy.documents import one_line
from lth_deploy.errors import DataError
from lth_deploy.reporting.drawing.labels import Color, LabelWriter, color_of, font_of

Pixels = npt.NDArray[np.uint8]

MASK_OPACITY = 0.45
# Panels of a comparison are enlarged to about this many pixels in width, so that labels on small photos
# stay readable and do not cover 20 pixel objects.
PANEL_WIDTH = 640
STRIP_COLOR = (30, 34, 42)
STRIP_INK = (240, 242, 246)


def draw(
    image: Pixels,
    detections: Detections,
    class_names: Sequence[str],
    score_threshold: float = 0.5,
    *,
    skeleton: Sequence[tuple[int, int]] = (),
    scale: int = 1,
) -> Pixels:
    """The photo `scale` times larger, with every detection of at least `score_threshold` drawn on it.

    image: uint8 [H, W, 3] RGB; it is not changed. Returns uint8 [H * scale, W * scale, 3].
    class_names: the name of label l at position l - 1; a label beyond them is written as its number.
    skeleton: pairs of keypoints to join, counted from 1 as COCO files write them.

    Raises:
        DataError: the image is not uint8 [H, W, 3], or the masks have another size than the image.
    """
    _check(image, detections)
    shown = detections.above(score_threshold)
    shown = shown.select(np.flatnonzero(np.isfinite(shown.boxes).all(axis=1)))
    height, width = image.shape[0] * scale, image.shape[1] * scale
    canvas = Image.fromarray(image)
    if scale != 1:
        canvas = canvas.resize((width, height), Image.Resampling.LANCZOS)
    worst_first = range(len(shown) - 1, -1, -1)
    if shown.masks is not None:
        pixels = np.array(canvas)
        for index in worst_first:
            _blend_mask(pixels, shown.masks[index], color_of(int(shown.labels[index])))
        canvas = Image.fromarray(pixels)
    boxes = np.clip(shown.boxes * scale, 0, [width, height, width, height])
    pen = ImageDraw.Draw(canvas)
    stroke = max(1, round(min(width, height) / 240))
    for index in worst_first:
        _draw_box(pen, boxes[index], color_of(int(shown.labels[index])), stroke)
    if shown.keypoints is not None and len(shown):
        enlarge = np.array([scale, scale, 1], dtype=np.float32)
        canvas = _with_keypoints(canvas, shown.keypoints * enlarge, shown.labels, skeleton)
    writer = LabelWriter(canvas)
    for index in range(len(shown)):
        writer.write(boxes[index], int(shown.labels[index]), class_names, float(shown.scores[index]))
    return np.asarray(canvas, dtype=np.uint8)


def side_by_side(images: Sequence[Pixels], titles: Sequence[str], *, gap: int = 8) -> Pixels:
    """One image with `images` in a row, each under its title.

    images: uint8 [H, W, 3] each, of any sizes; shorter ones are padded at the bottom. Returns uint8 RGB.

    Raises:
        DataError: no image, or not one title for each.
    """
    if not images or len(images) != len(titles):
        raise DataError(f"side_by_side got {len(images)} images and {len(titles)} titles; give one title each")
    font_size = max(12, min(image.shape[1] for image in images) // 32)
    strip = font_size * 2
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    height = strip + max(image.shape[0] for image in images)
    sheet = Image.new("RGB", (width, height), STRIP_COLOR)
    pen, left, font = ImageDraw.Draw(sheet), 0, font_of(font_size)
    for image, title in zip(images, titles, strict=True):
        text = one_line(title)
        while text and pen.textlength(text, font=font) > image.shape[1] - font_size:
            text = text[:-1]
        pen.text((left + font_size // 2, strip // 2), text, fill=STRIP_INK, font=font, anchor="lm")
        sheet.paste(Image.fromarray(image), (left, strip))
        left += image.shape[1] + gap
    return np.asarray(sheet, dtype=np.uint8)


def compare(
    image: Pixels,
    found: Mapping[str, Detections],
    class_names: Sequence[str],
    score_threshold: float = 0.5,
    *,
    skeleton: Sequence[tuple[int, int]] = (),
) -> Pixels:
    """The same photo once for each entry of `found` (title to detections), enlarged and side by side."""
    scale = max(1, round(PANEL_WIDTH / image.shape[1])) if image.ndim == 3 else 1
    panels = [
        draw(image, detections, class_names, score_threshold, skeleton=skeleton, scale=scale)
        for detections in found.values()
    ]
    return side_by_side(panels, list(found))


def encode_png(image: Pixels) -> bytes:
    """The image, uint8 [H, W, 3], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # `optimize` takes eight times as long, for 4 % of the bytes.
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _check(image: Pixels, detections: Detections) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"cannot draw on an image of type {image.dtype} and shape {image.shape}; give uint8 [height, width, 3]"
        )
    masks = detections.masks
    if masks is not None and masks.shape[1:] != image.shape[:2]:
        raise DataError(
            f"the masks are {masks.shape[1:]} (height, width) and the image is {image.shape[:2]}; "
            "paste the masks into the image first"
        )


def _blend_mask(pixels: Pixels, mask: FloatArray, color: Color) -> None:
    """Tint the object's pixels in place and trace its outline; pixels: [H, W, 3], mask: [h, w] in 0..1."""
    size = (pixels.shape[1], pixels.shape[0])
    smooth = Image.fromarray(np.asarray(mask, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(smooth) >= 0.5
    core = np.pad(inside, 1)
    core = core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
    tint = np.asarray(color, dtype=np.float32)
    pixels[inside] = (pixels[inside] * (1 - MASK_OPACITY) + tint * MASK_OPACITY).astype(np.uint8)
    pixels[inside & ~core] = color


def _draw_box(pen: ImageDraw.ImageDraw, box: FloatArray, color: Color, stroke: int) -> None:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    # The dark rim keeps a box visible on a background of its own color.
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0))
    pen.rectangle((left, top, right, bottom), outline=color, width=stroke)


def _with_keypoints(
    canvas: Image.Image,
    keypoints: FloatArray,
    labels: npt.NDArray[np.int64],
    skeleton: Sequence[tuple[int, int]],
) -> Image.Image:
    """A copy with dots and bones; drawn twice as large and reduced, because Pillow does not anti-alias."""
    layer = Image.new("RGBA", (canvas.width * 2, canvas.height * 2))
    pen = ImageDraw.Draw(layer)
    radius = max(3.0, min(canvas.size) / 110) * 2
    for points, label in zip(keypoints * [2, 2, 1], labels, strict=True):
        color = color_of(int(label))
        seen = np.isfinite(points).all(axis=1) & (points[:, 2] > 0)
        for first, second in skeleton:
            if not (1 <= first <= len(points) and 1 <= second <= len(points)):
                continue
            if seen[first - 1] and seen[second - 1]:
                ends = [tuple(points[first - 1, :2]), tuple(points[second - 1, :2])]
                pen.line(ends, fill=(*color, 255), width=round(radius * 0.7))
        for x, y, _ in points[seen]:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255, 255))
            core = radius * 0.65
            pen.ellipse((x - core, y - core, x + core, y + core), fill=(*color, 255))
    layer = layer.resize(canvas.size, Image.Resampling.BOX)
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")
