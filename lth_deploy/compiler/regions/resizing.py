"""Which Resize nodes repeat the nearest pixel, source index = floor(i * in / out), as the instruction does."""

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.regions.dims import Dim
from lth_deploy.compiler.regions.known import Shape, attribute

_FACTORS = range(1, 9)


def is_nearest(node: NodeProto, source: Shape, made: Shape) -> bool:
    """Whether a Resize from one known shape to another computes what the instruction computes."""
    if attribute(node, "mode", "nearest") != "nearest" or attribute(node, "antialias", 0):
        return False
    how = attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    return all(_side(a, b, how, rounding) for a, b in zip(source[2:], made[2:], strict=True))


def _side(source: Dim, made: Dim, how: str, rounding: str) -> bool:
    factor = next((f for f in _FACTORS if source * f == made), None)
    if how == "asymmetric" and rounding == "floor":
        if factor is not None or (made + 1) // 2 == source:
            # Halved sizes, rounded up: i * in / out stays clear of whole numbers by more than float32's error.
            return True
        return source.known is not None and made.known is not None and _same_indices(source.known, made.known)
    # At whole factors (i + 1/2) / f - 1/2 rounds to floor(i / f) wherever ties fall to that side; they do not occur
    # at odd factors, and at even ones both roundings to nearest agree only up to a factor of 2.
    if how in ("half_pixel", "pytorch_half_pixel") and rounding in ("round_prefer_floor", "round_prefer_ceil"):
        return factor in (1, 2, 3)
    return False


def _same_indices(source: int, made: int) -> bool:
    """Whether floor in float32, as runtimes compute it, is the exact floor."""
    scale = np.float32(made) / np.float32(source)
    rounded = np.floor(np.arange(made, dtype=np.float32) / scale).astype(np.int64)
    return bool(np.array_equal(rounded, np.arange(made) * source // made))
