"""Convex figures and textured backgrounds as arrays: geometry and pixels of the generated data set."""

import colorsys
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
Canvas = npt.NDArray[np.float32]
Size = tuple[int, int]

KEYPOINTS = ("top", "right", "bottom", "left")
SKELETON = ((1, 2), (2, 3), (3, 4), (4, 1))
_DIRECTIONS = np.array([(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)])


def _regular(corners: int) -> Array:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# Corners around the center of mass, in the order that makes (dy, -dx) point outwards, farthest at distance 1.
OUTLINES: dict[str, Array] = {
    "circle": _regular(48),
    "square": _regular(4),
    "triangle": _regular(3),
    "bar": np.array([(0.94, -0.34), (0.94, 0.34), (-0.94, 0.34), (-0.94, -0.34)]),
}


@dataclass(frozen=True)
class Figure:
    """A figure in place: center and radius of the circle around it in pixels, radians, RGB 0..255."""

    name: str
    center: tuple[float, float]
    radius: float
    angle: float
    color: tuple[float, float, float]

    @cached_property
    def corners(self) -> Array:
        """[M, 2] as x, y."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[cos, sin], [-sin, cos]])
        placed: Array = OUTLINES[self.name] @ turn * self.radius + np.array(self.center)
        return placed

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        # Outward unit normals with their offsets: the figure is where normal . p <= offset for all sides.
        along = np.roll(self.corners, -1, axis=0) - self.corners
        normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return normals, np.sum(normals * self.corners, axis=1)

    def distance(self, points: Array) -> Array:
        """Signed distance in pixels of points [..., 2] from the outline; below 0 inside."""
        normals, offsets = self._sides
        inside: Array = np.max(points @ normals.T - offsets, axis=-1)
        return inside

    def keypoints(self) -> Array:
        """[4, 2]: where the outline meets the vertical and the horizontal through the center.

        Unlike corners they move smoothly as the figure turns, and a mirror image has mirrored ones.
        """
        normals, offsets = self._sides
        approach = _DIRECTIONS @ normals.T
        room = offsets - normals @ np.array(self.center)
        with np.errstate(divide="ignore"):
            reach = np.where(approach > 1e-9, room / approach, np.inf).min(axis=1)
        points: Array = np.array(self.center) + _DIRECTIONS * reach[:, None]
        return points

    def coverage(self, size: Size) -> Canvas:
        """Share of each pixel that the figure covers, float32 [H, W]: its edges are smooth."""
        width, height = size
        canvas = np.zeros((height, width), dtype=np.float32)
        left, top = np.maximum(np.floor(self.corners.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(self.corners.max(axis=0)).astype(int) + 1, (width, height))
        if left < right and top < bottom:
            y, x = np.mgrid[top:bottom, left:right] + 0.5
            inside = self.distance(np.stack([x, y], axis=-1))
            canvas[top:bottom, left:right] = np.clip(0.5 - inside, 0.0, 1.0)
        return canvas


def background(random: np.random.Generator, size: Size) -> Canvas:
    """A dull, cloudy, slightly grainy surface, float32 [H, W, 3] in 0..255."""
    base = rgb(random.uniform(), random.uniform(0.0, 0.25), random.uniform(0.25, 0.75))
    canvas = np.empty((size[1], size[0], 3), dtype=np.float32)
    canvas[:] = base
    canvas += clouds(random, size, cells=4, channels=3) * 12
    canvas += clouds(random, size, cells=5, channels=1) * 18
    canvas += clouds(random, size, cells=14, channels=1) * 10
    return canvas


def paint(random: np.random.Generator, canvas: Canvas, figure: Figure, coverage: Canvas) -> None:
    """Lay a figure with soft shading over the canvas."""
    height, width = coverage.shape
    texture = clouds(random, (width, height), cells=6, channels=1) * 14
    surface = np.asarray(figure.color, dtype=np.float32) + texture
    canvas += coverage[..., None] * (surface - canvas)


def finish(random: np.random.Generator, canvas: Canvas) -> npt.NDArray[np.uint8]:
    """Sensor noise over everything, then uint8 [H, W, 3]."""
    grain = random.normal(0.0, 4.0, canvas.shape).astype(np.float32)
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint(canvas + grain), 0, 255).astype(np.uint8)
    return pixels


def clouds(random: np.random.Generator, size: Size, cells: int, channels: int) -> Canvas:
    """Smooth noise of about unit amplitude, float32 [H, W, channels], `cells` bumps along a side."""
    layers = []
    for _ in range(channels):
        coarse = random.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
        layers.append(np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)))
    return np.stack(layers, axis=-1)


def rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """RGB 0..255 of a hue (a full turn is 1), saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red * 255, green * 255, blue * 255
