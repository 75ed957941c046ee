"""The value type of stored weights, and the dense model that has exactly the weights of a packed one."""

from typing import Literal

import numpy as np
from onnx import TensorProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.weight_layers import WeightLayer, weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel, tensor_of
from lth_deploy.formats.base import BF16

ValueType = Literal["fp32", "fp16", "bf16"]


_HALVES = {"fp16": np.dtype(np.float16), "bf16": BF16}


def rounded(weights: Array, values: ValueType) -> Array:
    """Float32 weights as they are stored: in half precision where asked for and all stay finite; -0 becomes 0.

    int8 stays.
    """
    if weights.dtype == np.int8:
        return weights
    if values in _HALVES:
        with np.errstate(over="ignore"):
            half: Array = weights.astype(_HALVES[values])
        if np.isfinite(half.astype(np.float32)).all():
            half += half.dtype.type(0)
            return half
    return weights.astype(np.float32) + np.float32(0)


def values_of(layer: WeightLayer, values: ValueType) -> ValueType:
    """How a layer is stored: bf16 only what kernels multiply so, all else then as fp16."""
    return "fp16" if values == "bf16" and not layer.bf16 else values


def round_values(model: NormalizedModel, values: ValueType) -> NormalizedModel:
    """The dense model that computes with the weights an artifact with these `values` stores.

    Biases and constants that are no weights of a layer keep their type and value, as `pack` keeps them.
    """
    floats = (layer for layer in weight_layers(model.proto) if layer.obstacle is None and not layer.stored.int8)
    return model.with_tensors(
        {layer.name: rounded(layer.stored.weights(), values_of(layer, values)).astype(np.float32) for layer in floats}
    )


def set_weights(tensor: TensorProto, weights: Array) -> None:
    """Replace the data of an initializer, keeping its name."""
    tensor.CopyFrom(tensor_of(weights, tensor.name))
