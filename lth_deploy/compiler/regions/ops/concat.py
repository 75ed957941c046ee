"""Tensors of one plane, joined along their channels."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.ops.same import match_same
from lth_deploy.compiler.regions.ops.space_to_depth import match_focus
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.limits import QUAD
from lth_deploy.kernels.program.ops.concat import Concat, QConcat

CONCAT = Kind("concat", keeps_grid=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    if len(node.input) == 1:
        return match_same(context, place, node)
    focus = match_focus(context, place, node)
    if focus is not None:
        return focus
    shapes = [context.shape(name) for name in node.input]
    ranks, first = {len(shape) for shape in shapes}, shapes[0]
    require(len(ranks) == 1 and attribute(node, "axis", 0) in (1, 1 - len(first)), "it does not join channels")
    planes = {context.info.simplest((shape[0], *shape[2:])) for shape in shapes}
    require(len(planes) == 1, "its inputs are not known to have one plane")
    return RegionOp(CONCAT, place, (node,), tuple(node.input), (node.output[0],), rows=ranks == {2})


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    parts = [info.shapes.get(name) for name in node.input]
    first = parts[0]
    if first is None or any(part is None or len(part) != len(first) for part in parts):
        return None
    axis = attribute(node, "axis", 0) % len(first) if first else 0
    for part in parts:
        for i, size in enumerate(part or ()):
            if i != axis:
                # Sizes that are not known to be equal may be all the same: on others it fails.
                info.equate(first[i], size)
    made = list(info.simplest(first))
    made[axis : axis + 1] = [sum((part[axis] for part in parts if part), of(0))]
    return [tuple(made)]


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    parts = tuple(writer.moved(fused.op))
    whole = fused.out is None or all(writer.channels(name) % QUAD == 0 for name in fused.op.inputs[:-1])
    writer.add(Concat(parts) if whole else QConcat(parts), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={CONCAT: _emit},
    matches={"Concat": _match},
    shapes={"Concat": _shape},
    dequantized=("Concat",),
)
