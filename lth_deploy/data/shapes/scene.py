"""One generated image: which figures lie where, what hides what, and the annotations that follow."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.data.segmentation import encode_runs
from lth_deploy.data.shapes import drawing
from lth_deploy.data.shapes.drawing import Canvas, Figure, Size

Mask = npt.NDArray[np.bool_]

SMALLEST, LARGEST = 0.2, 0.45
"""Diameter of a figure as a share of the image's shorter side."""

_MOST_HIDDEN = 0.3
_TRIES = 40
_CROWD_SIZE = 12


@dataclass
class _Placed:
    """A figure, the pixels that it covers, and those of them that later figures left in sight."""

    figure: Figure
    whole: Mask
    seen: Mask


@dataclass(frozen=True)
class Stage:
    """What all images of a data set share; a category's id is its position in `classes`, from 1."""

    size: Size
    classes: tuple[str, ...]
    max_objects: int
    crowd: float

    def draw(self, random: np.random.Generator) -> tuple[npt.NDArray[np.uint8], list[dict[str, Any]]]:
        """Pixels uint8 [H, W, 3] and COCO annotations that still lack `id` and `image_id`."""
        canvas = drawing.background(random, self.size)
        crowds = [self._draw_crowd(random, canvas)] if random.uniform() < self.crowd else []
        placed: list[_Placed] = []
        for _ in range(int(random.integers(1, self.max_objects + 1))):
            figure = self._place(random, placed)
            if figure is None:
                continue
            coverage = figure.coverage(self.size)
            drawing.paint(random, canvas, figure, coverage)
            whole = coverage > 0.5
            for other in placed:
                other.seen &= ~whole
            placed.append(_Placed(figure, whole, whole.copy()))
        objects = [
            self._annotation(one, [later.figure for later in placed[position + 1 :]])
            for position, one in enumerate(placed)
        ]
        return drawing.finish(random, canvas), objects + crowds

    def _place(self, random: np.random.Generator, placed: list[_Placed]) -> Figure | None:
        """A figure that leaves enough of all others in sight, or None where there is no room for one."""
        for _ in range(_TRIES):
            figure = self._figure(random, random.uniform(SMALLEST, LARGEST) * min(self.size) / 2)
            whole = figure.coverage(self.size) > 0.5
            if all((p.seen & ~whole).sum() >= (1 - _MOST_HIDDEN) * p.whole.sum() for p in placed):
                return figure
        return None

    def _figure(self, random: np.random.Generator, radius: float) -> Figure:
        label = int(random.integers(len(self.classes)))
        margin = min(radius + 1, min(self.size) / 2)
        center = (
            float(random.uniform(margin, self.size[0] - margin)),
            float(random.uniform(margin, self.size[1] - margin)),
        )
        # Each class keeps to its part of the color circle, so that a small detector learns it in minutes;
        # the parts meet, so that shape matters too.
        hue = (label + float(random.uniform(-0.5, 0.5))) / len(self.classes)
        color = drawing.rgb(hue, float(random.uniform(0.5, 1.0)), float(random.uniform(0.55, 1.0)))
        angle = float(random.uniform(0, 2 * math.pi))
        return Figure(self.classes[label], center, radius, angle, color)

    def _annotation(self, one: _Placed, later: list[Figure]) -> dict[str, Any]:
        rows = np.round(one.figure.corners, 2)
        if (one.seen == one.whole).all():
            segmentation: Any = [rows.ravel().tolist()]
            low, high = rows.min(axis=0), rows.max(axis=0)
        else:
            segmentation = encode_runs(one.seen)
            low, high = _extent(one.seen)
        points = one.figure.keypoints()
        return {
            "category_id": self.classes.index(one.figure.name) + 1,
            "bbox": [round(float(v), 2) for v in (*low, *(high - low))],
            "area": float(one.seen.sum()),
            "iscrowd": 0,
            "segmentation": segmentation,
            "keypoints": [value for point in points for value in _keypoint(point, later)],
            "num_keypoints": len(points),
        }

    def _draw_crowd(self, random: np.random.Generator, canvas: Canvas) -> dict[str, Any]:
        """Many small overlapping figures of one class, annotated as a single region."""
        first = self._figure(random, 0.12 * min(self.size))
        region = np.zeros((self.size[1], self.size[0]), dtype=np.bool_)
        for _ in range(_CROWD_SIZE):
            shift = random.normal(0.0, first.radius, 2)
            center = np.clip(np.array(first.center) + shift, 0, np.array(self.size) - 1.0)
            angle = float(random.uniform(0, 2 * math.pi))
            figure = Figure(first.name, (float(center[0]), float(center[1])), first.radius / 2, angle, first.color)
            coverage = figure.coverage(self.size)
            drawing.paint(random, canvas, figure, coverage)
            region |= coverage > 0.5
        low, high = _extent(region)
        return {
            "category_id": self.classes.index(first.name) + 1,
            "bbox": [float(v) for v in (*low, *(high - low))],
            "area": float(region.sum()),
            "iscrowd": 1,
            "segmentation": encode_runs(region),
        }


def _keypoint(point: drawing.Array, later: list[Figure]) -> list[float]:
    hidden = any(float(figure.distance(point)) < 0 for figure in later)
    return [round(float(point[0]), 2), round(float(point[1]), 2), 1 if hidden else 2]


def _extent(mask: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Lower and upper corner, as x, y, of the box around a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
