"""Maxima over windows, with a Pad before them that never wins, or of zeros."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.shape_rules import pool_shape, rounded_up
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext, window_of
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.max_pool import MaxPool, ZeroMaxPool
from lth_deploy.kernels.program.values import Pads, Window

MAX_POOL = Kind("maxpool", ends_region=False, keeps_grid=True)
ZERO_MAX_POOL = replace(MAX_POOL, name="zeromaxpool")

LANE_COLUMNS = 4
"""Sub-images side by side into which kernels cut a plane, on every instruction set."""

_LOWEST_PADDING = -1e38
"""Padding below this never wins a maximum against a finite activation that a detector makes."""


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    kernel = tuple(attribute(node, "kernel_shape", []))
    require(len(kernel) == 2, f"a pool of {len(kernel)} dimensions")
    require(len(node.output) == 1, "a pool that returns indices")
    context.require_plane(node.input[0])
    automatic = attribute(node, "auto_pad", "NOTSET") != "NOTSET"
    require(not automatic, "its padding depends on the size (auto_pad)")
    plane = context.shape(node.input[0])[2:]
    pads = require(rounded_up(node, plane, attribute(node, "pads", [0, 0, 0, 0])), "a pool that rounds its size up")
    op = RegionOp(MAX_POOL, place, (node,), (node.input[0],), (node.output[0],), window=window_of(node, kernel, pads))
    op = _with_padding(context, node, op) or op
    width = context.shape(op.inputs[0])[3]
    require(_keeps_lanes(width, op.window), "it shrinks its plane by some pixels: every lane reads another line")
    return op


def _with_padding(context: MatchContext, node: NodeProto, op: RegionOp) -> RegionOp | None:
    """The pool with the Pad before it, whose value never wins, or is zero where the pool itself pads nothing."""
    before = context.producer(node.input[0])
    if before is None or not context.uses.only(node.input[0]):
        return None
    zero = not any(op.window.pads)
    padding = _padding(before, context.info, zero=zero) if zero or not attribute(node, "ceil_mode", 0) else None
    if padding is None:
        return None
    kind, added = padding
    kernel = op.window.kernel
    top, left, bottom, right = (a + b for a, b in zip(op.window.pads, added, strict=True))
    inside = top < kernel[0] and bottom < kernel[0] and left < kernel[1] and right < kernel[1]
    require(inside, "padding past the window")
    source = before.input[0]
    context.require_plane(source)
    padded = replace(op.window, pads=(top, left, bottom, right))
    return replace(op, kind=kind, nodes=(before, node), inputs=(source,), window=padded)


def _keeps_lanes(width: Dim, window: Window) -> bool:
    """Whether a pool that takes every pixel makes lines of as many as it reads; there it is as fast as in a runtime.

    Of one with a stride, or whose width is open, it is not asked: its plane is small, or its padding keeps the width.
    """
    if window.stride[1] != 1 or width.known is None:
        return True
    made = width.known + window.pads[1] + window.pads[3] - window.dilation[1] * (window.kernel[1] - 1)
    return -(-made // LANE_COLUMNS) == -(-width.known // LANE_COLUMNS)


def _padding(node: NodeProto, info: TensorInfo, *, zero: bool) -> tuple[Kind, Pads] | None:
    """Of a Pad of planes with zeros or what no maximum takes: what its pool is; top, left, bottom and right."""
    if node.op_type != "Pad" or attribute(node, "mode", "constant") != "constant" or len(node.input) not in (2, 3):
        return None
    pads = info.constant(node.input[1])
    value = info.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if pads is None or pads.size != 8 or value is None or value.size != 1:
        return None
    number = float(value.reshape(-1)[0])
    if not (number <= _LOWEST_PADDING or (zero and number == 0)):
        return None
    sides = [int(pad) for pad in pads]
    if any(sides[i] for i in (0, 1, 4, 5)) or min(sides) < 0:
        return None
    return ZERO_MAX_POOL if number == 0 else MAX_POOL, (sides[2], sides[3], sides[6], sides[7])


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (x,) = writer.moved(fused.op)
    pool = ZeroMaxPool if fused.op.kind is ZERO_MAX_POOL else MaxPool
    writer.add(pool(x, fused.op.window), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={MAX_POOL: _emit, ZERO_MAX_POOL: _emit},
    matches={"MaxPool": _match},
    shapes={"MaxPool": pool_shape},
    dequantized=("MaxPool",),
)
