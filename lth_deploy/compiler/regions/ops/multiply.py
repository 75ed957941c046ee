"""Products: of two tensors of one shape, with one pixel of each channel, or with a constant."""

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.shape_rules import elementwise_shape
from lth_deploy.compiler.regions.analysis.symbolic_dims import of
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.ops.activate import match_activation
from lth_deploy.compiler.regions.ops.scale import match_factor
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.multiply import Multiply

MULTIPLY = Kind("multiply", fuses=True)

_PIXEL = (of(1), of(1))


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    other = match_activation(context, place, node) or match_factor(context, place, node)
    if other is not None:
        return other
    x, y = node.input
    require(x != y, "it multiplies a tensor by itself")
    shapes = [context.features(name) for name in (x, y)]
    if shapes[0][2:] == _PIXEL and shapes[1][2:] != _PIXEL:
        x, y, shapes = y, x, shapes[::-1]
    same = shapes[0] == shapes[1] or (shapes[0][:2] == shapes[1][:2] and shapes[1][2:] == _PIXEL)
    require(same, "its operands are not known to have one shape, or one pixel")
    return RegionOp(MULTIPLY, place, (node,), (x, y), (node.output[0],), rows=len(shapes[0]) < 4)


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    x, y = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(Multiply(x, y, fused.act), fused.output)


OPERATOR = RegionOperator(emits={MULTIPLY: _emit}, matches={"Mul": _match}, shapes={"Mul": elementwise_shape})
