"""The value type of stored weights, and the dense model that has exactly the weights of a packed one."""

from typing import Literal

import numpy as np
from onnx import TensorProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel, tensor_of

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


def round_values(model: NormalizedModel, values: ValueType) -> NormalizedModel:
    """The dense model that computes with the weights an artifact with these `values` stores.

    Biases and constants that are no weights of a layer keep their type and value, as `pack` keeps them.
    """
    floats = (layer for layer in weight_layers(model.proto) if layer.obstacle is None and not layer.stored.int8)
    return model.with_tensors(
        {layer.name: rounded(layer.stored.weights(), values).astype(np.float32) for layer in floats}
    )


def set_weights(tensor: TensorProto, weights: Array) -> None:
    """Replace the data of an initializer, keeping its name."""
    tensor.CopyFrom(tensor_of(weights, tensor.name))
