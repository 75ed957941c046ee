"""Int8 weights as the numbers that they stand for, so that layers can be compared with each other."""

import numpy as np
from onnx import ModelProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.artifact.weight_layers import WeightLayer
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.errors import UsageError


def real_weights(model: ModelProto, layer: WeightLayer) -> Array:
    """The weights of a layer of a normalized model in float32: quantized ones times their scale.

    Raises:
        UsageError: their scale is not known, or 0 does not stand for 0.
    """
    weights = layer.stored.weights()
    if not layer.stored.int8:
        return weights
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [node for node in all_nodes(model.graph) if layer.name in node.input]
    node = readers[0]
    if len(readers) != 1 or node.op_type != "DequantizeLinear" or node.input[1] not in tensors:
        raise UsageError("its weights are int8, and no single DequantizeLinear has their scale")
    if len(node.input) > 2 and node.input[2]:
        zero = tensors.get(node.input[2])
        if zero is None or np.any(array_of(zero)):
            raise UsageError("its weights are int8 with a zero point other than zero")
    scale = array_of(tensors[node.input[1]]).astype(np.float32)
    axis = int(attribute(node, "axis", 1)) % weights.ndim
    if scale.size == 1:
        scale = scale.reshape(())
    elif scale.ndim == 1 and scale.size == weights.shape[axis]:
        scale = scale.reshape([-1 if place == axis else 1 for place in range(weights.ndim)])
    elif scale.ndim == weights.ndim and not np.any(np.remainder(weights.shape, np.maximum(scale.shape, 1))):
        for place, (size, blocks) in enumerate(zip(weights.shape, scale.shape, strict=True)):
            scale = np.repeat(scale, size // blocks, axis=place)
    else:
        raise UsageError(f"its scale has the shape {list(scale.shape)}, its weights {list(weights.shape)}")
    return weights.astype(np.float32) * scale
