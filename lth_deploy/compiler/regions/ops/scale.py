"""A factor or a shift of each channel, and both; batch norms that no layer took in, such as those behind a sum."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.tensor_info import channel_axis
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.products import short
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.scale import BatchNorm, Scale

SCALE = Kind("scale", fuses=True)
BATCH_NORM = Kind("batchnorm", fuses=True)


def match_factor(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """A Mul with a constant that has one value for each channel."""
    found = _of_channels(context, node)
    if found is None:
        return None
    x, factor = found
    return _scale(context, place, (node,), x, (factor, None))


def match_shift(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """An Add with such a constant, and the Mul before it that nothing else reads."""
    found = _of_channels(context, node)
    if found is None:
        return None
    x, shift = found
    before = context.producer(x)
    if before is not None and before.op_type == "Mul" and context.uses.only(x):
        scaled = _of_channels(context, before)
        if scaled is not None:
            source, factor = scaled
            return _scale(context, place, (before, node), source, (factor, shift))
    return _scale(context, place, (node,), x, (None, shift))


def _scale(
    context: MatchContext,
    place: int,
    nodes: tuple[NodeProto, ...],
    x: str,
    constants: tuple[str | None, str | None],
) -> RegionOp:
    output, rows = nodes[-1].output[0], context.is_rows(x)
    return RegionOp(SCALE, place, nodes, (x,), (output,), channel_values=constants, rows=rows)


def _of_channels(context: MatchContext, node: NodeProto) -> tuple[str, str] | None:
    """The tensor and the constant of channels that a node of two inputs reads."""
    for x, constant in (tuple(node.input), tuple(reversed(node.input))):
        stored = context.weights.constant(constant)
        shape = context.info.shapes.get(x)
        if stored is None or shape is None or len(shape) < 2 or x in context.weights.stored:
            continue
        channels = context.features(x)[channel_axis(shape)].known
        fits = stored.shape in (((channels, 1, 1), (1, channels, 1, 1)) if len(shape) == 4 else ((channels,),))
        fits = fits and channels != 1
        if fits and context.weights.obstacle(constant) is None:
            return x, constant
    return None


def _match_batch_norm(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
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
    op = fused.op
    factor, shift = (writer.optional_weight(name) for name in op.channel_values)
    writer.add(Scale(writer.tensor(op.inputs[0]), factor, shift, fused.act), fused.output)


def _emit_batch_norm(fused: FusedOp, writer: ProgramWriter) -> None:
    (node,) = fused.op.nodes
    factor, shift, mean, variance = (writer.weight(name) for name in fused.op.channel_values)
    epsilon = short(attribute(node, "epsilon", 1e-5))
    x = writer.tensor(fused.op.inputs[0])
    writer.add(BatchNorm(x, factor, shift, mean, variance, epsilon, fused.act), fused.output)


OPERATOR = RegionOperator(
    emits={SCALE: _emit, BATCH_NORM: _emit_batch_norm}, matches={"BatchNormalization": _match_batch_norm}
)
