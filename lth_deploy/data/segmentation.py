"""Polygons and run-length masks of a COCO file: bounds-checked, measured, turned into pixels.

pycocotools trusts its input: a polygon point far outside makes it allocate by the distance, and a
run that is too long writes past the mask. So everything is checked here first.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.data.json_values import FaultError, as_numbers, short

Segmentation = list[list[float]] | dict[str, Any]


def read_segmentation(value: Any, width: int, height: int) -> Segmentation | None:
    """The segmentation as it came, fit for `measure` and `render`; None where it is empty.

    Raises:
        FaultError: anything that is neither polygons nor run lengths of an image of this size.
    """
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return [_polygon(polygon, width, height) for polygon in value]
    if isinstance(value, dict):
        _runs(value, width, height)
        return value
    raise FaultError(f"segmentation must be a list of polygons or a run-length object, found {short(value)}")


def measure(segmentation: Segmentation, width: int, height: int) -> float:
    """Area in square pixels of a checked segmentation; where polygons overlap it counts twice."""
    if isinstance(segmentation, list):
        return sum(_polygon_area(polygon) for polygon in segmentation)
    return float(sum(_runs(segmentation, width, height)[1::2]))


def render(segmentation: Segmentation, size: tuple[int, int], to: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """0/1 mask [height, width] of a checked segmentation given at `size` = (width, height), drawn at `to`."""
    from pycocotools import mask as coco_mask

    width, height = to
    if isinstance(segmentation, list):
        factors = (width / size[0], height / size[1])
        scaled = [_scale(polygon, factors) for polygon in segmentation]
        runs = coco_mask.merge(coco_mask.frPyObjects(scaled, height, width))
        return np.asarray(coco_mask.decode(runs), dtype=np.uint8)
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, size[1], size[0])
    mask = np.asarray(coco_mask.decode(segmentation), dtype=np.uint8)
    if to == size:
        return mask
    columns = ((np.arange(width) + 0.5) * size[0] / width).astype(np.intp)
    rows = ((np.arange(height) + 0.5) * size[1] / height).astype(np.intp)
    return mask[rows[:, None], columns[None, :]]


def encode_runs(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Uncompressed run lengths of a mask [height, width], column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": [int(c) for c in counts]}


def _scale(polygon: list[float], factors: tuple[float, float]) -> list[float]:
    return (np.asarray(polygon, dtype=np.float64).reshape(-1, 2) * factors).ravel().tolist()


def _polygon(polygon: Any, width: int, height: int) -> list[float]:
    points = as_numbers(polygon, "a polygon")
    if len(points) < 6 or len(points) % 2:
        raise FaultError(f"a polygon needs x and y of 3 or more points, found {len(points)} numbers")
    x, y = points[0::2], points[1::2]
    if min(x) < -width or max(x) > 2 * width or min(y) < -height or max(y) > 2 * height:
        raise FaultError(f"a polygon reaches more than one image size outside the {width}x{height} image")
    return points


def _polygon_area(polygon: list[float]) -> float:
    x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _runs(value: dict[str, Any], width: int, height: int) -> list[int]:
    if value.get("size") != [height, width]:
        raise FaultError(
            f"a run-length mask must have size [{height}, {width}] (height, width) as its image, "
            f"found {short(value.get('size'))}"
        )
    counts = value.get("counts")
    if isinstance(counts, str):
        runs = _decompress(counts, width * height)
    elif isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts):
        runs = counts
    else:
        raise FaultError(f"counts of a run-length mask must be numbers of 0 or more, found {short(counts)}")
    if sum(runs) != width * height:
        raise FaultError(f"a run-length mask covers {short(sum(runs))} of {width * height} pixels")
    return runs


def _decompress(text: str, pixels: int) -> list[int]:
    """Runs out of COCO's text form: 5 bits a character from '0' on, bit 5 continues, bit 4 is the sign.

    From the fourth run on a number is the difference to the run two before.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 30:
            raise FaultError("counts of a run-length mask is not COCO's compressed text")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        run = number + (runs[-2] if len(runs) > 2 else 0)
        if not 0 <= run <= pixels:
            raise FaultError(f"a run of {run} pixels does not fit the image")
        runs.append(run)
        number = shift = 0
    if shift:
        raise FaultError("counts of a run-length mask ends in the middle of a number")
    return runs
