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
from lth_deploy.kernels.program.ops.multiply import Multiply, QGate, QMultiply

QMULTIPLY = Kind("qmultiply", of_argument=True)
QGATE = Kind("qgate", of_argument=True)
MULTIPLY = Kind("multiply", fuses=True, quantized_form=QMULTIPLY, residual_form=QMULTIPLY)
GATE = Kind("gate", fuses=True, activated_form=QGATE)

_PIXEL = (of(1), of(1))


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    other = match_activation(context, place, node) or match_factor(context, place, node)
    if other is not None:
        return other
    x, y = node.input
    require(x != y, "it multiplies a tensor by itself")
    shapes = [context.info.simplest(context.features(name)) for name in (x, y)]
    if shapes[0][2:] == _PIXEL and shapes[1][2:] != _PIXEL:
        x, y, shapes = y, x, shapes[::-1]
    kind = MULTIPLY if shapes[0] == shapes[1] else GATE
    same = kind is MULTIPLY or (shapes[0][:2] == shapes[1][:2] and shapes[1][2:] == _PIXEL)
    require(same, "its operands are not known to have one shape, or one pixel")
    return RegionOp(kind, place, (node,), (x, y), (node.output[0],), rows=len(shapes[0]) < 4)


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    x, y = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(Multiply(x, y, fused.act), fused.output)


def _emit_quantized(fused: FusedOp, writer: ProgramWriter) -> None:
    x, y = (writer.tensor(name) for name in fused.op.inputs)
    step = QMultiply if fused.op.kind is QMULTIPLY else QGate
    writer.add(step(x, y, fused.op.act, fused.required_out()), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={MULTIPLY: _emit, GATE: _emit, QMULTIPLY: _emit_quantized, QGATE: _emit_quantized},
    matches={"Mul": _match},
    shapes={"Mul": elementwise_shape},
)
