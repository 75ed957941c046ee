"""The value type of stored weights, and the dense model that has exactly the weights of a packed one."""

from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from lth_deploy.compiler.artifact.normalize import prepare
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.formats import Array

ValueType = Literal["fp32", "fp16"]


def rounded(weights: Array, values: ValueType) -> Array:
    """Float32 weights as they are stored: float16 where asked for and all stay finite; -0 becomes 0. int8 stays."""
    if weights.dtype == np.int8:
        return weights
    if values == "fp16":
        with np.errstate(over="ignore"):
            half = weights.astype(np.float16)
        if np.isfinite(half).all():
            return half + np.float16(0)
    return weights.astype(np.float32) + np.float32(0)


def round_values(model: ModelProto, values: ValueType) -> ModelProto:
    """The dense model that computes with the weights an artifact with these `values` stores.

    Biases and constants that are no weights of a layer keep their type and value, as `pack` keeps them.
    """
    dense = prepare(model)
    tensors = {tensor.name: tensor for tensor in dense.graph.initializer}
    for layer in weight_layers(dense):
        if layer.obstacle is None and not layer.stored.int8:
            weights = rounded(layer.stored.weights(), values).astype(np.float32)
            set_weights(tensors[layer.name], weights)
    return dense


def set_weights(tensor: TensorProto, weights: Array) -> None:
    """Replace the data of an initializer, keeping its name."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name))
