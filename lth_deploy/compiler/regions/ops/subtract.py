"""Differences of two tensors of one shape, or with a number."""

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.shape_rules import elementwise_shape
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.ops.activate import match_activation
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.subtract import Subtract

SUBTRACT = Kind("subtract", fuses=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    with_number = match_activation(context, place, node)
    if with_number is not None:
        return with_number
    a, b = (context.info.simplest(context.features(name)) for name in node.input)
    require(a == b and node.input[0] != node.input[1], "its operands are not known to have one shape")
    return RegionOp(SUBTRACT, place, (node,), tuple(node.input), (node.output[0],), rows=len(a) < 4)


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    a, b = (writer.tensor(name) for name in fused.op.inputs)
    writer.add(Subtract(a, b, fused.act), fused.output)


OPERATOR = RegionOperator(emits={SUBTRACT: _emit}, matches={"Sub": _match}, shapes={"Sub": elementwise_shape})
