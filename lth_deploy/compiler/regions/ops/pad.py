"""Zeros around planes."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.limits import MAX_PAD
from lth_deploy.kernels.program.ops.pad import Pad, QPad
from lth_deploy.kernels.program.values import Pads

PAD = Kind("pad", ends_region=False, keeps_grid=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    context.require_plane(node.input[0])
    require(attribute(node, "mode", "constant") == "constant", "it repeats pixels")
    value = context.info.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    zero = len(node.input) < 3 or not node.input[2] or (value is not None and value.size == 1 and not value.any())
    require(zero, "it pads with another value than zero")
    pads = require(_pads(context.info, node), "its pads are not known, or of more than planes")
    require(all(0 <= pad <= MAX_PAD for pad in pads), f"pads of {pads} pixels")
    return RegionOp(PAD, place, (node,), (node.input[0],), (node.output[0],))


def _pads(info: TensorInfo, node: NodeProto) -> Pads | None:
    """Top, left, bottom and right of a Pad of planes alone."""
    if len(node.input) < 2 or (len(node.input) > 3 and node.input[3]):
        return None
    sides = info.known_values(node.input[1])
    if sides is None or len(sides) != 8 or any(sides[i] for i in (0, 1, 4, 5)):
        return None
    return sides[2], sides[3], sides[6], sides[7]


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.shapes.get(node.input[0])
    sides = info.known_values(node.input[1]) if len(node.input) > 1 else None
    if x is None or sides is None or len(sides) != 2 * len(x) or (len(node.input) > 3 and node.input[3]):
        return None
    return [tuple(size + sides[i] + sides[i + len(x)] for i, size in enumerate(x))]


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (node,) = (node for node in fused.op.nodes if node.op_type == "Pad")
    pads = _pads(writer.info, node)
    assert pads is not None
    (x,) = writer.moved(fused.op)
    writer.add(Pad(x, pads) if fused.out is None else QPad(x, pads), fused.output, fused.out)


OPERATOR = RegionOperator(emits={PAD: _emit}, matches={"Pad": _match}, shapes={"Pad": _shape}, dequantized=("Pad",))
