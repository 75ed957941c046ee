"""Shapes of tokens, [N, T, C], that follow from those of the model's inputs."""

from collections.abc import Mapping

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.importing.light_copy import light_copy
from lth_deploy.compiler.importing.plain.inferred import proven_values
from lth_deploy.compiler.regions.analysis.symbolic_dims import named, of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape

_READERS = ("MatMul", "LayerNormalization")
"""Layers of tokens: a model without any has none."""

_RANK = 3


def token_shapes(model: ModelProto, stored: Mapping[str, StoredWeight]) -> dict[str, Shape]:
    """By name, as ONNX's shape inference proves them; what the file claims is not read. Sizes may be open."""
    if not any(node.op_type in _READERS for node in model.graph.node):
        return {}
    found = proven_values(_without_packed(light_copy(model), stored))
    return {value.name: _shape(value) for value in found if len(value.type.tensor_type.shape.dim) == _RANK}


def _without_packed(light: ModelProto, stored: Mapping[str, StoredWeight]) -> ModelProto:
    """The model with packed weights as inputs of their type and shape."""
    packed = [stored[node.output[0]] for node in light.graph.node if node.domain == DOMAIN and node.output[0] in stored]
    nodes = [node for node in light.graph.node if node.domain != DOMAIN]
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del light.graph.node[:]
    light.graph.node.extend(kept)
    for weight in packed:
        kind = TensorProto.INT8 if weight.int8 else TensorProto.FLOAT
        light.graph.input.append(helper.make_tensor_value_info(weight.name, kind, weight.shape))
    return light


def _shape(value: ValueInfoProto) -> Shape:
    dims = enumerate(value.type.tensor_type.shape.dim)
    return tuple(
        of(int(d.dim_value)) if d.dim_value > 0 else named(d.dim_param or f"{value.name}.{i}") for i, d in dims
    )
