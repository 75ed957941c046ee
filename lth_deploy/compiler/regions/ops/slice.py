"""Some channels of a tensor: Slice, and Split, which makes several such tensors."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo, clamped, slice_bounds
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.limits import QUAD
from lth_deploy.kernels.program.ops.slice import QSlice, Slice

SLICE = Kind("slice", keeps_grid=True)


def _match_slice(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    shape = context.shape(node.input[0])
    bounds = slice_bounds(context.info, node)
    bounds = require(bounds if bounds and bounds[0] in (1, 1 - len(shape)) else None, "it does not cut channels")
    channels = shape[1].known
    assert channels is not None
    start, stop = clamped(bounds[1], bounds[2], channels)
    require(start < stop, "it cuts nothing")
    return _slice(place, node, ((start, stop),), rows=len(shape) == 2)


def _match_split(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    rank, sizes = context.rank(node.input[0]), _split_sizes(context.info, node)
    require(attribute(node, "axis", 0) in (1, 1 - rank), "it does not cut channels")
    sizes = require(sizes, "the sizes of its parts are not known")
    require(all(size > 0 for size in sizes), "the sizes of its parts are not known")
    require(len(sizes) == len(node.output) and all(node.output), "a part of it has no name")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return _slice(place, node, tuple((end - size, end) for end, size in zip(ends, sizes, strict=True)), rows=rank == 2)


def _slice(place: int, node: NodeProto, pieces: tuple[tuple[int, int], ...], *, rows: bool) -> RegionOp:
    return RegionOp(SLICE, place, (node,), (node.input[0],), tuple(node.output), pieces=pieces, rows=rows)


def _slice_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    """Of a Slice whose indexes are known, along axes whose sizes are."""
    x = info.shapes.get(node.input[0])
    starts, ends, axes, steps = (
        info.known_values(node.input[i]) if i < len(node.input) and node.input[i] else None for i in range(1, 5)
    )
    if not x or starts is None or ends is None or len(starts) != len(ends):
        return None
    given = len(node.input) > 3 and bool(node.input[3]), len(node.input) > 4 and bool(node.input[4])
    axes, steps = axes if given[0] else tuple(range(len(starts))), steps if given[1] else (1,) * len(starts)
    if axes is None or steps is None or not len(axes) == len(steps) == len(starts) or 0 in steps:
        return None
    made = list(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x[axis].known if -len(x) <= axis < len(x) else None
        if size is None:
            return None
        made[axis] = of(len(range(*slice(start, end, step).indices(size))))
    return [tuple(made)]


def _split_sizes(info: TensorInfo, node: NodeProto) -> list[int] | None:
    """Sizes of the parts of a Split with constant sizes."""
    x = info.shapes.get(node.input[0])
    if x is None:
        return None
    total = x[attribute(node, "axis", 0) % len(x)].known
    if len(node.input) > 1 and node.input[1]:
        sizes = info.known_values(node.input[1])
        return None if sizes is None or sum(sizes) != total else list(sizes)
    if total is None:
        return None
    part = -(-total // len(node.output))
    return [min(part, total - i * part) for i in range(len(node.output))]


def _split_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    sizes, x = _split_sizes(info, node), info.shapes.get(node.input[0])
    if sizes is None or x is None:
        return None
    axis = attribute(node, "axis", 0) % len(x)
    return [(*x[:axis], of(size), *x[axis + 1 :]) for size in sizes]


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (x,) = writer.moved(fused.op)
    for name, (start, stop) in zip(fused.op.outputs, fused.op.pieces, strict=True):
        if name in writer.wanted:
            whole = fused.out is None or start % QUAD == 0
            step = Slice(x, start, stop) if whole else QSlice(x, start, stop)
            writer.add(step, name, fused.out if name == fused.output else None)


OPERATOR = RegionOperator(
    emits={SLICE: _emit},
    matches={"Slice": _match_slice, "Split": _match_split},
    shapes={"Slice": _slice_shape, "Split": _split_shape},
    dequantized=("Slice",),
)
