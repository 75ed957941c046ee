"""Scales of output channels that hold next to nothing: pruning makes them, and ONNX Runtime's quantizer forgets them.

A bias is stored in units of its channel's scale. The quantizer gives a channel without weights the scale 1, which
rounds the bias coarsely, and a channel of tiny weights so small a scale that bias and products may leave 32 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of

_FINE, _COARSE = 2.0**20, 2.0**29
"""Magnitudes of an integer bias: that of an empty channel, and the largest of any other."""


@dataclass(frozen=True)
class _Use:
    """A layer's bias: the DequantizeLinear that makes it, the scale of the layer's input, and its floats."""

    dequantize: NodeProto
    input_scale: float
    bias: Array


def mend_scales(model: ModelProto, floats: Mapping[str, TensorProto]) -> None:
    """Give such channels of a QDQ model a scale that suits their biases.

    floats: the tensors that the model was made of, by name.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    uses: dict[str, list[_Use]] = {}
    weights: dict[str, NodeProto] = {}
    outputs_at: dict[str, int] = {}
    for node in model.graph.node:
        if not traits_of(node.op_type).float_layer or len(node.input) < 3:
            continue
        x, weight, bias = (makers.get(name) for name in node.input)
        if x is None or weight is None or bias is None or weight.input[0] not in floats or node.input[2] not in floats:
            continue
        if bias.op_type == "DequantizeLinear" and weight.input[1] in tensors and x.input[1] in tensors:
            weights[weight.input[0]] = weight
            outputs_at[weight.input[0]] = int(node.op_type == "ConvTranspose")
            scale = float(numpy_helper.to_array(tensors[x.input[1]]))
            exact = numpy_helper.to_array(floats[node.input[2]])
            uses.setdefault(weight.input[0], []).append(_Use(bias, scale, exact))
    for name, layers in uses.items():
        axis = int(attribute(weights[name], "axis", 1))
        if axis == outputs_at[name]:
            exact = numpy_helper.to_array(floats[name]).swapaxes(0, axis)
            _mend(name, axis, weights[name].input[1], exact, layers, tensors)


def _mend(
    name: str, axis: int, scales_name: str, exact: Array, layers: list[_Use], tensors: dict[str, TensorProto]
) -> None:
    """axis: that of the outputs where the weight is stored; `exact` has them first."""
    scales = numpy_helper.to_array(tensors[scales_name]).copy()
    if scales.shape != (len(exact),):
        return
    needed = np.max([np.abs(use.bias.astype(np.float64)) / use.input_scale for use in layers], axis=0)
    empty = ~exact.reshape(len(exact), -1).any(axis=1)
    fine = empty & (needed > 0)
    coarse = ~empty & (needed / scales > _COARSE)
    if not (fine | coarse).any():
        return
    scales[fine] = (needed / _FINE)[fine]
    scales[coarse] = (needed / _COARSE)[coarse]
    columns = scales.reshape(-1, *(1,) * (exact.ndim - 1))
    rounded = numpy_helper.to_array(tensors[name]).swapaxes(0, axis).copy()
    rounded[coarse] = np.clip(np.rint(exact / columns), -127, 127).astype(np.int8)[coarse]
    _set(tensors[name], rounded.swapaxes(0, axis))
    _set(tensors[scales_name], scales)
    for use in layers:
        units = np.float32(use.input_scale) * scales
        limit = 2**31 - 1
        _set(tensors[use.dequantize.input[0]], np.clip(np.rint(use.bias / units), -limit, limit).astype(np.int32))
        _set(tensors[use.dequantize.input[1]], units.astype(np.float32))


def _set(tensor: TensorProto, values: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
