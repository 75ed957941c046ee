"""LayerNormalization over the features of each row, as one node or written out."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.products import short
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.match.written_out_norm import written_out
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.layer_norm import LayerNorm

LAYER_NORM = Kind("layernorm", fuses=True)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    shape = context.features(node.input[0])
    require(len(shape) < 4 and attribute(node, "axis", -1) in (-1, len(shape) - 1), "not over the features of a row")
    require(not any(node.output[1:]), "it returns mean or deviation")
    epsilon = attribute(node, "epsilon", 1e-5)
    require(epsilon > 0, "its epsilon is not above zero")
    constants = tuple(name or None for name in (*node.input[1:], ""))[:2]
    return _layer_norm(context, place, (node,), node.input[0], constants, epsilon)


def match_written_out(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """The Add that ends one of several nodes, with all of them."""
    found = written_out(context, node)
    if found is None:
        return None
    return _layer_norm(context, place, found.nodes, found.x, (found.factor, found.shift), found.epsilon)


def _layer_norm(
    context: MatchContext,
    place: int,
    nodes: tuple[NodeProto, ...],
    x: str,
    constants: tuple[str | None, ...],
    epsilon: float,
) -> RegionOp:
    features = context.features(x)[-1].known
    for name in constants:
        if name is not None:
            obstacle = context.weights.obstacle(name)
            require(obstacle is None, str(obstacle))
            per_channel = context.weights.stored[name].shape == (features,)
            require(per_channel, f"'{name}' has no value for each feature")
    made = (nodes[-1].output[0],)
    return RegionOp(LAYER_NORM, place, nodes, (x,), made, channel_values=constants, epsilon=short(epsilon), rows=True)


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    factor, shift = (writer.optional_weight(name) for name in fused.op.channel_values)
    x = writer.tensor(fused.op.inputs[0])
    writer.add(LayerNorm(x, factor, shift, fused.op.epsilon, fused.act), fused.output)


OPERATOR = RegionOperator(emits={LAYER_NORM: _emit}, matches={"LayerNormalization": _match})
