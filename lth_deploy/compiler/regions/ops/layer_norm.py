"""LayerNormalization over the features of each row."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.products import short
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.layer_norm import LayerNorm

LAYER_NORM = Kind("layernorm", fuses=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    shape = context.features(node.input[0])
    require(len(shape) < 4 and attribute(node, "axis", -1) in (-1, len(shape) - 1), "not over the features of a row")
    require(not any(node.output[1:]), "it returns mean or deviation")
    require(attribute(node, "epsilon", 1e-5) > 0, "its epsilon is not above zero")
    constants = [name or None for name in (*node.input[1:], "")][:2]
    for name in constants:
        if name is not None:
            obstacle = context.weights.obstacle(name)
            require(obstacle is None, str(obstacle))
            per_channel = context.weights.stored[name].shape == (shape[-1].known,)
            require(per_channel, f"'{name}' has no value for each feature")
    return RegionOp(
        LAYER_NORM, place, (node,), (node.input[0],), (node.output[0],), channel_values=tuple(constants), rows=True
    )


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (node,) = fused.op.nodes
    factor, shift = (writer.optional_weight(name) for name in fused.op.channel_values)
    epsilon = short(attribute(node, "epsilon", 1e-5))
    writer.add(LayerNorm(writer.tensor(fused.op.inputs[0]), factor, shift, epsilon, fused.act), fused.output)


OPERATOR = RegionOperator(emits={LAYER_NORM: _emit}, matches={"LayerNormalization": _match})
