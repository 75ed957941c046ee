"""Weights of float16 and bfloat16: which of them reach float32 layers on import, and which stay as they are."""

import numpy as np
from onnx import ModelProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.tensor_types import type_name
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.element_types import HALF_TYPES


def half_obstacles(model: ModelProto) -> dict[str, str | None]:
    """Initializers of half precision by name, and why they stay so; None of those that become float32 on import."""
    kinds = {one.name: one.data_type for one in model.graph.initializer if one.data_type in HALF_TYPES}
    if not kinds:
        return {}
    read = {
        node.input[1]
        for node in model.graph.node
        if traits_of(node.op_type).float_layer and node.domain in STANDARD_DOMAINS and len(node.input) > 1
    }
    returned = {value.name for graph in all_graphs(model.graph) for value in graph.output}
    replaceable = {value.name for value in model.graph.input} if model.ir_version >= 4 else set()
    found: dict[str, str | None] = {}
    for name, kind in kinds.items():
        stored = f"stored as {type_name(kind)}"
        if name in returned:
            found[name] = f"{stored}, in which the model returns it"
        elif name in replaceable:
            found[name] = "a caller may replace it: it is an input of the graph"
        else:
            found[name] = None if name in read else f"{stored}, and its layer is inside a branch or loop"
    return found


def speaks_half(model: ModelProto) -> bool:
    """Whether values of a model are of half precision: its inputs, or what it converts."""
    inputs = (value.type.tensor_type.elem_type for value in model.graph.input)
    casts = (attribute(node, "to") for node in model.graph.node if node.op_type == "Cast" and not node.domain)
    return any(kind in HALF_TYPES for kind in (*inputs, *casts))


def exact_half(weights: Array) -> Array | None:
    """Float32 weights as float16 where that changes none of them; else None."""
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16)
    return half + np.float16(0) if np.array_equal(half.astype(np.float32), weights) else None
