"""Nodes of RoiAlign for the tests of the kernels: files for their host, and what they compute in double precision."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.kernels.node_files import write_file

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_ROUNDING = 2.0**-24
_MAX_SAMPLES = 2**24


@dataclass(frozen=True)
class RoiNode:
    """place: coordinate_transformation_mode. bins: rows and columns of a box. Inputs as those of the operator."""

    place: str
    bins: tuple[int, int]
    samples: int
    scale: float
    pictures: Floats
    boxes: Floats
    images: npt.NDArray[np.int64]

    @property
    def text(self) -> str:
        """Its attributes, as the host reads them."""
        rows, columns = self.bins
        return (
            f"mode=avg\ncoordinate_transformation_mode={self.place}\noutput_height={rows}\noutput_width={columns}\n"
            f"sampling_ratio={self.samples}\nspatial_scale={self.scale:.9g}\n"
        )


def roi_node(
    shape: tuple[int, int, int],
    boxes: int,
    bins: tuple[int, int] = (7, 7),
    samples: int = 2,
    place: str = "output_half_pixel",
    scale: float = 0.25,
) -> RoiNode:
    """Two images of a shape (channels, height, width), and boxes of every kind: wild ones at the end of many."""
    rng = np.random.default_rng(boxes + shape[0])
    channels, height, width = shape
    extent = np.array([width, height, width, height]) / scale
    corners = rng.uniform(-0.1, 1.1, (boxes, 2, 2))
    corners[::2].sort(axis=1)  # of the others most are inside out
    corners[3::8, 1] = corners[3::8, 0]
    corners[5::8] += 3
    corners = (corners.reshape(boxes, 4) * extent).astype(np.float32)
    if boxes > 20:
        numbers = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-44]
        for row, number in enumerate(numbers, -len(numbers)):
            corners[row, row % 4] = number
        corners[-7] = (-3e38, -3e38, 3e38, 3e38)
        corners[-8] = np.nan
        corners[-9] = (-1e5, -2e5, 1e5, 2e5)
    pictures = rng.standard_normal((2, channels, height, width)).astype(np.float32)
    return RoiNode(place, bins, samples, scale, pictures, corners, rng.integers(0, 2, boxes))


ROI_NODES = {
    "one box": roi_node((64, 20, 24), 1),
    "a thousand boxes": roi_node((19, 20, 24), 1000),
    "of a mask head": roi_node((37, 13, 5), 30, (14, 14), place="half_pixel"),
    "one sample": roi_node((130, 9, 9), 30, (1, 3), 1),
    "many samples": roi_node((5, 11, 40), 30, (3, 2), 16, "half_pixel", 0.7),
    "one pixel": roi_node((1, 1, 1), 30),
    "adaptive": roi_node((40, 50, 60), 60, (7, 7), 0, "half_pixel", 1.0),
    "adaptive, two bins": roi_node((9, 33, 70), 30, (2, 1), 0),
}


def write_roi_node(path: Path, node: RoiNode) -> Path:
    """A file for the host."""
    return write_file(path, "RoiAlign", 1, node.text, [node.pictures, node.boxes, node.images])


def exact_roi_align(node: RoiNode) -> tuple[Doubles, Doubles]:
    """What it computes, but for where samples lie, which is float32; and by how much float32 sums may be off."""
    values, bounds = [], []
    for box, image in zip(node.boxes * np.float32(node.scale), node.images, strict=True):
        rows, row_samples = _side(node, box[1], box[3], 0)
        columns, column_samples = _side(node, box[0], box[2], 1)
        picture = node.pictures[image].astype(np.float64)
        values.append(rows @ picture @ columns.T)
        roundings = 4 * np.outer(row_samples, column_samples) + 16
        bounds.append(roundings * _ROUNDING * (rows @ np.abs(picture) @ columns.T))
    return np.stack(values), np.stack(bounds)


def _side(node: RoiNode, low: np.float32, high: np.float32, axis: int) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Of one direction of a box: how much each line of pixels weighs in every bin, and the samples that count."""
    bins, size = node.bins[axis], node.pictures.shape[2 + axis]
    shift = np.float32(0.5 if node.place == "half_pixel" else 0)
    with np.errstate(all="ignore"):
        start = low - shift
        length = high - shift - start
        if node.place != "half_pixel" and length < 1:
            length = np.float32(1)
        step = length / np.float32(bins)
        count = node.samples or (int(np.ceil(step)) if 0 < step <= _MAX_SAMPLES else 0)
        if count == 0:
            return np.zeros((bins, size)), np.zeros(bins, np.int64)
        within = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * step / np.float32(count)
        at = start + np.arange(bins, dtype=np.float32)[:, None] * step + within
        counted = (at >= -1) & (at <= size)
    at = np.clip(np.where(counted, at, 0).astype(np.float64), 0, size - 1)
    below = np.floor(at).astype(np.int64)
    weights = np.zeros((bins, size))
    bin_of = np.broadcast_to(np.arange(bins)[:, None], at.shape)
    np.add.at(weights, (bin_of, below), counted * (1 - at + below) / count)
    np.add.at(weights, (bin_of, np.minimum(below + 1, size - 1)), counted * (at - below) / count)
    return weights, counted.sum(axis=1)
