"""Transposed convolutions whose stride is their kernel, in floats and with int8 weights between quantized tensors."""

from dataclasses import replace

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext, window_of
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.quantized_layer import quantized_layer
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose, QConvTranspose

CONV_TRANSPOSE = Kind("convtranspose", has_weight=True, transposed=True, fuses=True)
QCONV_TRANSPOSE = Kind("qconvtranspose", has_weight=True, quantized=True, transposed=True, fuses=True)


def _layer(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    if context.is_dequantized(node.input[1]):
        return quantized_layer(context, place, node, QCONV_TRANSPOSE)
    weight, bias = context.float_constants(node)
    return RegionOp(CONV_TRANSPOSE, place, (node,), (node.input[0],), (node.output[0],), weight, bias)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    groups = attribute(node, "group", 1)
    require(groups == 1, f"a transposed convolution of {groups} groups")
    layer = _layer(context, place, node)
    context.require_plane(node.input[0])
    dims = context.weights.stored[str(layer.weight)].shape
    plain = len(dims) == 4 and _only_interleaves(node, (dims[2], dims[3]))
    require(plain, "a transposed convolution whose stride is not its kernel, or with pads")
    return replace(layer, window=window_of(node, (dims[2], dims[3])))


def _only_interleaves(node: NodeProto, kernel: tuple[int, int]) -> bool:
    """Whether no two inputs of a transposed convolution meet in an output, and none is cut off or added."""
    plain = attribute(node, "strides", [1, 1]) == list(kernel) and attribute(node, "group", 1) == 1
    plain = plain and not any(attribute(node, "pads", [0])) and not attribute(node, "output_shape")
    return plain and attribute(node, "dilations", [1, 1]) == [1, 1] and not any(attribute(node, "output_padding", [0]))


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = info.shapes.get(node.input[1])
    if weight is None or len(weight) != 4:
        return None
    height, width = weight[2].known, weight[3].known
    if height is None or width is None or not _only_interleaves(node, (height, width)):
        return None
    x = info.planes(node.input[0], weight[0].known)
    return [(x[0], weight[1], x[2] * height, x[3] * width)] if len(x) == 4 else None


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, bias = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.optional_weight(op.bias)
    writer.add(ConvTranspose(x, weight, bias, op.window.kernel, fused.act), fused.output)


def _emit_quantized(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, scales = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.weight(op.scales)
    bias = writer.optional_weight(op.bias)
    step = QConvTranspose(x, weight, scales, bias, op.window.kernel, fused.act, fused.out)
    writer.add(step, fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={CONV_TRANSPOSE: _emit, QCONV_TRANSPOSE: _emit_quantized},
    matches={"ConvTranspose": _match},
    shapes={"ConvTranspose": _shape},
    dequantized=("ConvTranspose",),
)
