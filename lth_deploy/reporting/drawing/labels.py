"""Class colors, and name tags on images that avoid each other."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from lth_deploy.detections import FloatArray
from lth_deploy.documents import one_line

Color = tuple[int, int, int]
Corners = tuple[float, float, float, float]

# Bright, mutually distinct under the common color-vision deficiencies for the first eight classes.
_FIRST_COLORS: tuple[Color, ...] = (
    (255, 194, 10),
    (26, 133, 255),
    (255, 95, 64),
    (0, 200, 150),
    (212, 92, 230),
    (120, 200, 60),
    (90, 200, 250),
    (255, 140, 190),
)
_LONGEST_NAME = 24


def color_of(label: int) -> Color:
    """The color of a class, the same in every image; label counts from 1."""
    if 1 <= label <= len(_FIRST_COLORS):
        return _FIRST_COLORS[label - 1]
    # Steps of the golden ratio never bring two hues together.
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.7, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


@lru_cache(maxsize=16)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: needs no font on the machine."""
    return ImageFont.load_default(size)


class LabelWriter:
    """Writes name tags on one canvas, the most important first; later ones dodge the earlier ones."""

    def __init__(self, canvas: Image.Image) -> None:
        self._size = canvas.size
        self._pen = ImageDraw.Draw(canvas)
        self._font_size = max(10, min(20, round(min(canvas.size) / 36)))
        self._taken: list[Corners] = []

    def write(self, box: FloatArray, label: int, class_names: Sequence[str], score: float) -> None:
        """Put the tag of one detection at its box; box: float32 [4] in pixels of the canvas."""
        text = f"{_name(label, class_names)} {score:.2f}"
        font = font_of(self._font_size)
        pad = max(2, self._font_size // 4)
        width, height = self._pen.textlength(text, font=font) + 2 * pad, float(self._font_size + pad)
        corner = self._place(box, width, height)
        color = color_of(label)
        bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        x, y = corner
        self._pen.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
        self._pen.text((x + pad, y + height - pad - 1), text, fill=ink, font=font, anchor="ls")

    def _place(self, box: FloatArray, width: float, height: float) -> tuple[int, int]:
        """Top left corner of the tag: above the box, below it or inside, the first that is free."""
        left, top, right, bottom = (float(edge) for edge in box)
        wishes = [
            (left, top - height),
            (left, bottom),
            (right - width, top - height),
            (right - width, bottom),
            (left, top),
            (left, bottom - height),
        ]
        kept = [self._inside(x, y, width, height) for x, y in wishes]
        free = [spot for spot in kept if not any(_overlap(spot, other) for other in self._taken)]
        spot = (free or kept)[0]
        self._taken.append(spot)
        return round(spot[0]), round(spot[1])

    def _inside(self, x: float, y: float, width: float, height: float) -> Corners:
        x = max(0.0, min(x, self._size[0] - width))
        y = max(0.0, min(y, self._size[1] - height))
        return x, y, x + width, y + height


def _name(label: int, class_names: Sequence[str]) -> str:
    if not 1 <= label <= len(class_names):
        return f"class {label}"
    name = one_line(class_names[label - 1])
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
