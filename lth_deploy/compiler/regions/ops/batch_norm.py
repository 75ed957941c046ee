"""Batch norms that no layer took in, such as those behind a sum."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.products import short
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.batch_norm import BatchNorm

BATCH_NORM = Kind("batchnorm", fuses=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    channels = context.shape(node.input[0])[1].known
    require(context.rank(node.input[0]) == 4, "its input has no plane")
    require(len(node.output) == 1 and not attribute(node, "training_mode", 0), "it is trained")
    for name in node.input[1:]:
        obstacle = context.weights.obstacle(name)
        require(obstacle is None, str(obstacle))
        require(context.weights.stored[name].shape == (channels,), f"'{name}' has no value for each channel")
    constants = tuple(node.input[1:])
    return RegionOp(BATCH_NORM, place, (node,), (node.input[0],), (node.output[0],), channel_values=constants)


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (node,) = fused.op.nodes
    factor, shift, mean, variance = (writer.weight(name) for name in fused.op.channel_values)
    epsilon = short(attribute(node, "epsilon", 1e-5))
    x = writer.tensor(fused.op.inputs[0])
    writer.add(BatchNorm(x, factor, shift, mean, variance, epsilon, fused.act), fused.output)


OPERATOR = RegionOperator(emits={BATCH_NORM: _emit}, matches={"BatchNormalization": _match})
