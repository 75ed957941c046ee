"""Sums of two tensors of one shape, which a layer takes in as a residual where it can; sums with a constant."""

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.shape_rules import elementwise_shape
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.ops.activate import match_activation
from lth_deploy.compiler.regions.ops.conv import CONV, MATMUL, QCONV, QMATMUL, match_bias
from lth_deploy.compiler.regions.ops.layer_norm import match_written_out
from lth_deploy.compiler.regions.ops.scale import match_shift
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.add import Add, QAdd, QResidual

QADD = Kind("qadd", fuses=True, residual_of=(QCONV, QMATMUL))
QRESIDUAL = Kind("qresidual")
ADD = Kind("add", fuses=True, residual_of=(CONV, MATMUL), quantized_form=QADD, residual_form=QRESIDUAL)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    rules = (match_written_out, match_activation, match_bias, match_shift)
    with_constant = (rule(context, place, node) for rule in rules)
    found = next((op for op in with_constant if op is not None), None)
    if found is not None:
        return found
    a, b = (context.info.simplest(context.features(name)) for name in node.input)
    require(a == b and node.input[0] != node.input[1], "its operands are not known to have one shape")
    return RegionOp(ADD, place, (node,), tuple(node.input), (node.output[0],), rows=len(a) < 4)


def _emit_add(fused: FusedOp, writer: ProgramWriter) -> None:
    a, b = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(Add(a, b, fused.act), fused.output)


def _emit_qadd(fused: FusedOp, writer: ProgramWriter) -> None:
    a, b = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(QAdd(a, b, fused.act, fused.required_out()), fused.output, fused.out)


def _emit_qresidual(fused: FusedOp, writer: ProgramWriter) -> None:
    x, y = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(QResidual(x, y, fused.op.act, fused.required_out()), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={ADD: _emit_add, QADD: _emit_qadd, QRESIDUAL: _emit_qresidual},
    matches={"Add": _match},
    shapes={"Add": elementwise_shape},
    dequantized=("Add",),
)
