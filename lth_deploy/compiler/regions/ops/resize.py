"""Resize to a known plane: the nearest pixel at floor(i * in / out), or bilinear interpolation."""

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.resize import MAX_FACTOR, Resize, Upsample
from lth_deploy.kernels.program.values import Linear

RESIZE = Kind("resize", ends_region=False, keeps_grid=True, takes_plane=True, enlarges=True)
UPSAMPLE = Kind("upsample", ends_region=False, keeps_grid=True, enlarges=True)

_FACTORS = range(1, 9)
_UPSAMPLED: set[int | None] = set(range(2, MAX_FACTOR + 1))


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    context.require_plane(node.input[0])
    source, found = context.shape(node.input[0]), context.info.shapes.get(node.output[0])
    made = require(found if found and found[:2] == source[:2] else None, "the size that it makes is not known")
    linear = _linear_of(node, context.info)
    factors = {_times(a, b) for a, b in zip(source[2:], made[2:], strict=True)}
    # Where a tensor has its size for some images only, the factor makes it, and what reads both compares them.
    supposed = context.info.simplest(made[2:]) != made[2:]
    kind = UPSAMPLE if supposed and len(factors) == 1 and factors <= _UPSAMPLED else RESIZE
    return RegionOp(kind, place, (node,), (node.input[0],), (node.output[0],), linear=linear)


def _linear_of(node: NodeProto, info: TensorInfo) -> Linear | None:
    """How a Resize between known shapes finds its pixels: None for the nearest one.

    Raises:
        NoMatch: it computes what the instruction does not.
    """
    source, made = info.shapes[node.input[0]], info.shapes[node.output[0]]
    mode, how = attribute(node, "mode", "nearest"), attribute(node, "coordinate_transformation_mode", "half_pixel")
    require(not attribute(node, "antialias", 0), "it smooths while it shrinks (antialias)")
    require(attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch", "it keeps the ratio of its sides")
    require(_scales_fit_sizes(node, info), "its scales are not those of the sizes that it makes")
    sides = list(zip(source[2:], made[2:], strict=True))
    if mode == "nearest":
        rounding = attribute(node, "nearest_mode", "round_prefer_floor")
        require(all(_side(a, b, how, rounding) for a, b in sides), "it does not repeat the nearest pixel by floor")
        return None
    require(mode == "linear", f"its mode is {mode}")
    require(how in _LINEAR, f"it finds its pixels by {how}")
    larger = all(_times(a, b) is not None for a, b in sides)
    require(larger or all(_times(b, a) is not None for a, b in sides), "its factors are not known to be whole numbers")
    # They differ only where a single pixel is made.
    require(larger or how != "pytorch_half_pixel", "it may shrink to one pixel (pytorch_half_pixel)")
    return _LINEAR[how]


_LINEAR: dict[str, Linear] = {
    "half_pixel": "half_pixel",
    "pytorch_half_pixel": "half_pixel",
    "asymmetric": "asymmetric",
}


def _scales_fit_sizes(node: NodeProto, info: TensorInfo) -> bool:
    """Whether a runtime steps by in / out: it steps by the given scales, even where they do not make whole sizes."""
    if len(node.input) > 3 and node.input[3]:
        return True
    scales = info.constant(node.input[2])
    source, made = info.shapes[node.input[0]], info.shapes[node.output[0]]
    if scales is None:
        return False
    sides = zip(source[2:], made[2:], scales.reshape(-1)[2:], strict=True)
    return all(_times(a, b) == scale or _known_ratio(a, b) == scale for a, b, scale in sides)


def _known_ratio(source: Dim, made: Dim) -> np.float32 | None:
    if source.known is None or made.known is None:
        return None
    return np.float32(made.known) / np.float32(source.known)


def _times(source: Dim, made: Dim) -> int | None:
    """The whole factor from one size to another, where there is one."""
    return next((f for f in _FACTORS if source * f == made), None)


def _side(source: Dim, made: Dim, how: str, rounding: str) -> bool:
    factor = _times(source, made)
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


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.shapes.get(node.input[0])
    if len(node.input) > 3 and node.input[3]:
        sizes = info.values.get(node.input[3])
        return [sizes] if sizes and x is not None and len(sizes) == len(x) else None
    scales = info.constant(node.input[2]) if len(node.input) > 2 else None
    if scales is None or x is None or scales.size != len(x):
        return None
    made = []
    for size, scale in zip(x, scales.reshape(-1).tolist(), strict=True):
        if scale == int(scale):
            made.append(size * int(scale))
        elif size.known is not None:
            made.append(of(int(np.floor(size.known * scale))))
        else:
            return None
    return [tuple(made)]


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (x,) = writer.moved(fused.op)
    writer.add(Resize(x, writer.plane(fused.op), fused.op.linear), fused.output, fused.out)


def _emit_upsample(fused: FusedOp, writer: ProgramWriter) -> None:
    (x,) = writer.moved(fused.op)
    shapes = writer.info.shapes
    factor = _times(shapes[fused.op.inputs[0]][2], shapes[fused.op.outputs[0]][2])
    assert factor is not None, "it was matched with a factor"
    writer.add(Upsample(x, factor, fused.op.linear), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={RESIZE: _emit, UPSAMPLE: _emit_upsample},
    matches={"Resize": _match},
    shapes={"Resize": _shape},
    dequantized=("Resize",),
)
