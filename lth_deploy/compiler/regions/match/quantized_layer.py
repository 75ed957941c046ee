"""Layers with int8 weights: which of them the kernels compute."""

import numpy as np
from onnx import NodeProto, TensorProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import NoMatch, require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp, Weights
from lth_deploy.kernels.program.check_constants import check_accumulators, check_scales
from lth_deploy.kernels.program.limits import RuleError

_SAME_SCALE = 1e-5
"""Most that a bias's scale may differ from the product of input and weight scale, which a runtime takes it for."""


def quantized_layer(context: MatchContext, place: int, node: NodeProto, kind: Kind) -> RegionOp:
    """A layer whose weight comes from a DequantizeLinear: per-channel symmetric int8, bias int32.

    Raises:
        NoMatch: it is quantized in a way that the kernels do not compute.
    """
    weights, conversion = context.weights, context.producers[node.input[1]][1]
    weight = conversion.input[0]
    require(weight in weights.stored, f"'{weight}' is computed, not stored")
    stored = require(weights.constant(weight), f"a caller may replace '{weight}': it is an input of the graph")
    require(stored.int8, f"its weights are {stored.type_name}; kernels take int8")
    values, axis = stored.weights(), int(kind.transposed)
    values = values.swapaxes(0, 1) if kind.transposed else values
    scales = _scales(conversion, values, axis, weights)
    _check_zero_points(node, conversion, weights)
    nodes, bias = [conversion], None
    if len(node.input) > 2 and node.input[2]:
        made = context.producer(node.input[2]) if context.is_dequantized(node.input[2]) else None
        made = require(made, "its bias is not quantized, a runtime adds no floats")
        _check_bias(context, node, made, conversion)
        nodes.append(made)
        bias = made.input[0]
    try:
        check_accumulators(values, None if bias is None else weights.stored[bias].weights())
    except RuleError as error:
        raise NoMatch(f"its weights: {error}") from error
    return RegionOp(kind, place, (*nodes, node), (node.input[0],), (node.output[0],), weight, bias, scales=scales)


def _scales(conversion: NodeProto, values: Array, axis: int, weights: Weights) -> str:
    """Name of the scales. values: [outputs, inputs, ...]. axis: that of the outputs as they are stored."""
    name = str(conversion.input[1])
    scales = require(weights.constant(name), "the scales of its weights are not constant").weights()
    per_channel = scales.size > 1 or len(values) == 1
    require(per_channel, "its weights have one scale for all outputs; quantize them per channel")
    per_output = scales.shape == (len(values),) and attribute(conversion, "axis", 1) == axis
    fits = per_output and scales.dtype == np.float32
    require(fits, "the scales of its weights are not those of its output channels")
    try:
        check_scales(scales)
    except RuleError as error:
        raise NoMatch(f"its weights: {error}") from error
    return name


def _check_zero_points(node: NodeProto, conversion: NodeProto, weights: Weights) -> None:
    name = conversion.input[2] if len(conversion.input) > 2 else ""
    stored = weights.constant(name)
    if name and not (stored is not None and not stored.weights().any()):
        raise NoMatch("its weights have a zero point other than zero: quantize them symmetrically")
    require(bool(name) or node.op_type != "Gemm", "its weights have no zero point: there a runtime multiplies floats")


def _check_bias(context: MatchContext, node: NodeProto, conversion: NodeProto, weight: NodeProto) -> None:
    """A bias is int32, in units of the scales of input and weight. conversion, weight: both DequantizeLinears."""
    weights = context.weights
    stored = require(weights.constant(conversion.input[0]), "its bias is not constant")
    require(stored.value_type == TensorProto.INT32, "its bias is not int32")
    require(len(conversion.input) < 3 or not conversion.input[2], "its bias has a zero point")
    before = context.producer(node.input[0]) if context.is_dequantized(node.input[0]) else None
    before = require(before, "its input is not quantized")
    given = [weights.stored.get(made.input[1]) for made in (conversion, before, weight)]
    require(all(scale is not None for scale in given), "a scale of it is not constant")
    of_bias, of_x, of_weight = (scale.weights() for scale in given if scale is not None)
    product = of_x.astype(np.float64) * of_weight.astype(np.float64)
    close = of_bias.size in (1, product.size) and bool(np.allclose(of_bias, product, rtol=_SAME_SCALE, atol=0))
    require(close, "its bias is not in units of the scales of its input and weights")
