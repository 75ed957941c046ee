"""How often each weight is multiplied, from the sizes that shape inference proves: the model is not run."""

import math
from collections.abc import Mapping

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import weight_users
from lth_deploy.compiler.model.input_sizes import Sizes
from lth_deploy.compiler.planning.mac_count import multiplications, watched_output

_SMALL = 1024
"""Most elements of a constant that stays: it may be a shape, indices or bounds."""

_LARGEST_BYTES = 1 << 16


def without_weights(model: ModelProto, inputs: Sizes) -> ModelProto:
    """A copy with inputs of these sizes in which every large constant is an input of its size: a few kilobytes.

    model: regions are expanded, see `expand_regions`. Packed weights need not be decoded.
    """
    light = ModelProto()
    light.CopyFrom(_bare(model))
    weights = stored_weights(model)
    removed = {output for node in model.graph.node if node.domain == DOMAIN for output in node.output}
    arrays = {tensor.name for name in removed for tensor in weights[name].tensors.values()}
    for node in model.graph.node:
        constant = (
            next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        )
        if constant is not None and _is_large(constant):
            light.graph.input.append(helper.make_tensor_value_info(node.output[0], constant.data_type, constant.dims))
        elif not removed & set(node.output):
            light.graph.node.append(node)
    for value in model.graph.input:
        light.graph.input.append(_sized(value, inputs[value.name]) if value.name in inputs else value)
    stated = {value.name for value in light.graph.input}
    for name in removed:
        kind = TensorProto.INT8 if weights[name].int8 else TensorProto.FLOAT
        light.graph.input.append(helper.make_tensor_value_info(name, kind, weights[name].shape))
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            continue
        if not _is_large(tensor):
            light.graph.initializer.append(tensor)
        elif tensor.name not in stated:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def inferred_sizes(light: ModelProto) -> dict[str, list[int]]:
    """The sizes of all values of the main graph that follow from those of its inputs.

    Shape inference computes on values too, and a small model may make these large: call it with limits.
    """
    known = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    found = {}
    for value in (*known.value_info, *known.output, *known.input):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = [int(dim.dim_value) for dim in dims]
    return found


def positions_from(model: ModelProto, sizes: Mapping[str, list[int]]) -> tuple[dict[str, int], list[str]]:
    """Multiplications of each weight, by its name, and the weights of which a layer has no known size.

    As where they are measured, nodes inside If and Loop bodies are not counted.
    """
    top_level = {output for node in model.graph.node for output in node.output}
    counted: dict[str, int] = {}
    unknown: dict[str, None] = {}
    for node, weight in weight_users(model, stored_weights(model)):
        size = sizes.get(watched_output(node))
        if node.output[0] not in top_level:
            continue
        if size is None:
            unknown[weight] = None
        else:
            counted[weight] = counted.get(weight, 0) + multiplications(node, size)
    return {name: times for name, times in counted.items() if name not in unknown}, list(unknown)


def _is_large(tensor: TensorProto) -> bool:
    return bool(math.prod(tensor.dims) > _SMALL or tensor.ByteSize() > _LARGEST_BYTES)


def _bare(model: ModelProto) -> ModelProto:
    """The model without its main graph's nodes, constants and inputs, and without the sizes that it states."""
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(function for function in model.functions if function.domain != DOMAIN)
    bare.graph.name = model.graph.name
    for output in model.graph.output:
        stated = bare.graph.output.add()
        stated.CopyFrom(output)
        if stated.type.HasField("tensor_type"):
            stated.type.tensor_type.ClearField("shape")
    return bare


def _sized(value: ValueInfoProto, size: tuple[int, ...]) -> ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, size)
