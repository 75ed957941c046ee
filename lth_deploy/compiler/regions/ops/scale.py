"""A factor or a shift of each channel, and both: a batch norm that no layer took in."""

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import channel_axis
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.scale import Scale

SCALE = Kind("scale", fuses=True)


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


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    factor, shift = (writer.optional_weight(name) for name in op.channel_values)
    writer.add(Scale(writer.tensor(op.inputs[0]), factor, shift, fused.act), fused.output)


OPERATOR = RegionOperator(emits={SCALE: _emit})
