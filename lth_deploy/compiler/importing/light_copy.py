"""A model without its weights, for shape inference."""

from onnx import ModelProto, helper

from lth_deploy.compiler.artifact.packed_weight import tensor_bytes

AS_VALUES = 4096
"""Constants of at most so many bytes may be shapes, and are shown to shape inference with their values."""


def light_copy(model: ModelProto) -> ModelProto:
    """The model with large constants as inputs of their type and shape: nothing of them is copied to infer others."""
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = model.graph
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    given = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor_bytes(tensor) <= AS_VALUES:
            light.graph.initializer.append(tensor)
        elif tensor.name not in given:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return light
