"""Activations: the operator before takes them in where it can, else they have an instruction of their own."""

from onnx import NodeProto

from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.activations import LAST_NODES, activation
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.region_op import REQUANTIZE, Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.activate import Activate, Requantize

ACT = Kind("act", is_activation=True, quantized_form=REQUANTIZE)


def match_activation(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """The activation that ends in a node."""
    found = activation(context, node)
    if found is None:
        return None
    rows = context.is_rows(found.source)
    return RegionOp(ACT, place, found.nodes, (found.source,), (node.output[0],), act=found.act, rows=rows)


def _emit_act(fused: FusedOp, writer: ProgramWriter) -> None:
    writer.add(Activate(writer.tensor(fused.op.inputs[0]), fused.act), fused.output)


def _emit_requantize(fused: FusedOp, writer: ProgramWriter) -> None:
    step = Requantize(writer.tensor(fused.op.inputs[0]), fused.act, fused.required_out())
    writer.add(step, fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={ACT: _emit_act, REQUANTIZE: _emit_requantize},
    matches=dict.fromkeys(LAST_NODES, match_activation),
)
