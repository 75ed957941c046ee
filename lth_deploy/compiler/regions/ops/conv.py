"""Convolutions, and matrix products on rows: in floats, and with int8 weights between quantized tensors."""

from dataclasses import replace

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.shape_rules import window_shape
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext, window_of
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.quantized_layer import quantized_layer
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.conv import Conv, MatMul, QConv, QGrouped, QMatMul, whole_quads

CONV = Kind("conv", has_weight=True, fuses=True)
MATMUL = Kind("matmul", has_weight=True, transposed=True, fuses=True)
QMATMUL = Kind("qmatmul", has_weight=True, quantized=True, transposed=True, fuses=True)
QCONV = Kind("qconv", has_weight=True, quantized=True, fuses=True)


def _layer(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    if context.is_dequantized(node.input[1]):
        return quantized_layer(context, place, node, QCONV)
    weight, bias = context.float_constants(node)
    return RegionOp(CONV, place, (node,), (node.input[0],), (node.output[0],), weight, bias)


def _match_conv(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    layer = _layer(context, place, node)
    dims = context.weights.stored[str(layer.weight)].shape
    require(len(dims) == 4, f"a convolution of {len(dims) - 2} dimensions")
    context.require_plane(node.input[0])
    groups = attribute(node, "group", 1)
    window = window_of(node, (dims[2], dims[3]))
    channels = context.shape(node.input[0])[1].known
    require(channels == dims[1] * groups, f"its input has {channels} channels, the weight takes {dims[1] * groups}")
    return replace(layer, window=window, groups=groups)


def _match_gemm(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    require(attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0, "it scales its product")
    require(attribute(node, "transA", 0) == 0, "it transposes its input")
    inputs_first = attribute(node, "transB", 0) == 0
    layer = _product(context, place, node) if inputs_first else _layer(context, place, node)
    require(context.rank(node.input[0]) == 2, "its input is no row of features")
    if layer.bias is not None:
        stored = context.weights.stored
        per_output = stored[layer.bias].shape == stored[str(layer.weight)].shape[int(inputs_first) :][:1]
        require(per_output, f"the bias '{layer.bias}' does not have one value an output")
    return replace(layer, rows=True)


def _match_matmul(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    require(context.weight_name(node) in context.weights.stored, f"'{node.input[1]}' is computed, not stored")
    return _product(context, place, node)


def _product(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    """The product of rows and a weight of [inputs, outputs]."""
    if context.is_dequantized(node.input[1]):
        layer = quantized_layer(context, place, node, QMATMUL)
    else:
        weight, bias = context.float_constants(node)
        layer = RegionOp(MATMUL, place, (node,), (node.input[0],), (node.output[0],), weight, bias)
    dims = context.weights.stored[str(layer.weight)].shape
    require(len(dims) == 2, f"its weight has {len(dims)} dimensions")
    require(context.is_rows(node.input[0]), "its input is no row of features")
    channels = context.features(node.input[0])[-1].known
    require(channels == dims[0], f"its input has {channels} features, the weight takes {dims[0]}")
    return replace(layer, rows=True)


def match_bias(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """An Add of one value for each output to a MatMul that nothing else reads: both together."""
    for made, bias in (tuple(node.input), tuple(reversed(node.input))):
        product, stored = context.producer(made), context.weights.constant(bias)
        if product is None or stored is None or product.op_type != "MatMul" or not context.uses.only(made):
            continue
        weight = context.weights.constant(product.input[1])
        fits = weight is not None and stored.shape == weight.shape[1:] and stored.coding == "dense"
        if fits and len(stored.shape) == 1 and context.weights.obstacle(bias) is None:
            op = _product(context, place, product)
            return replace(op, nodes=(product, node), outputs=(node.output[0],), bias=bias)
    return None


def _conv_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = info.shapes.get(node.input[1])
    if weight is None or len(weight) != 4:
        return None
    inputs = weight[1].known
    x = info.planes(node.input[0], inputs * attribute(node, "group", 1) if inputs else None)
    kernel = [weight[2].known, weight[3].known]
    if len(x) != 4 or None in kernel or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    return [(x[0], weight[0], *window_shape(node, x[2:], kernel))]


def _gemm_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = info.shapes.get(node.input[1])
    if weight is None or len(weight) != 2 or attribute(node, "transA", 0):
        return None
    outputs, inputs = weight if attribute(node, "transB", 0) else weight[::-1]
    return [(info.rows(node.input[0], inputs.known)[0], outputs)]


def _emit_conv(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, bias = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.optional_weight(op.bias)
    add = writer.optional_tensor(fused.add)
    writer.add(Conv(x, weight, bias, op.window, op.groups, add, fused.act), fused.output)


def _matmul_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    """Of a product with a weight: matrices are not multiplied one by one."""
    x, weight = info.shapes.get(node.input[0]), info.shapes.get(node.input[1])
    return None if not x or weight is None or len(weight) != 2 else [(*x[:-1], weight[1])]


def _emit_matmul(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, bias = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.optional_weight(op.bias)
    writer.add(MatMul(x, weight, bias, writer.optional_tensor(fused.add), fused.act), fused.output)


def _emit_qconv(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, scales = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.weight(op.scales)
    bias, add = writer.optional_weight(op.bias), writer.optional_tensor(fused.add)
    operator = QConv if whole_quads(op.groups, writer.dims(op.weight)) else QGrouped
    step = operator(x, weight, scales, bias, op.window, op.groups, add, fused.act, fused.out)
    writer.add(step, fused.output, fused.out)


def _emit_qmatmul(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    x, weight, scales = writer.tensor(op.inputs[0]), writer.weight(op.weight), writer.weight(op.scales)
    bias, add = writer.optional_weight(op.bias), writer.optional_tensor(fused.add)
    writer.add(QMatMul(x, weight, scales, bias, add, fused.act, fused.out), fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={CONV: _emit_conv, MATMUL: _emit_matmul, QCONV: _emit_qconv, QMATMUL: _emit_qmatmul},
    matches={"Conv": _match_conv, "Gemm": _match_gemm, "MatMul": _match_matmul},
    shapes={"Conv": _conv_shape, "Gemm": _gemm_shape, "MatMul": _matmul_shape},
    dequantized=("Conv", "Gemm", "MatMul"),
)
