"""Constant nodes and copies of constants as initializers."""

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.compiler.artifact.packed_weight import tensor_bytes
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes

LIFT_BYTES = 1024
"""A Constant node of so many bytes is a weight, whoever reads it."""

_PLAIN = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def constant_value(node: NodeProto) -> TensorProto | None:
    """What a Constant node holds, without a name; None of other nodes, and of strings and sparse values."""
    if node.op_type != "Constant" or node.domain not in STANDARD_DOMAINS or len(node.output) != 1:
        return None
    value = attribute(node, "value")
    if isinstance(value, TensorProto):
        return value
    for name, dtype in _PLAIN.items():
        plain = attribute(node, name)
        if plain is not None:
            return numpy_helper.from_array(np.asarray(plain, dtype), "")
    return None


def lift_constants(model: ModelProto, parameters: Collection[str] = ()) -> list[str]:
    """Make initializers, in place, of Constant nodes that are large, and of those of any size named in `parameters`."""
    kept, lifted = [], 0
    for node in model.graph.node:
        value = constant_value(node)
        if value is not None and (tensor_bytes(value) >= LIFT_BYTES or node.output[0] in parameters):
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
            lifted += 1
        else:
            kept.append(node)
    if not lifted:
        return []
    copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return [f"Constant nodes became initializers: {lifted}"]


def drop_copies(model: ModelProto) -> None:
    """Let the users of an Identity of an initializer read the initializer: torch's exporter merges equal biases so."""
    stored = {tensor.name for tensor in model.graph.initializer}
    outputs = {output.name for graph in all_graphs(model.graph) for output in graph.output}
    original: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        source = original.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Identity" and not node.domain and source in stored and node.output[0] not in outputs:
            original[node.output[0]] = source
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    for node in all_nodes(model.graph):
        for place, name in enumerate(node.input):
            node.input[place] = original.get(name, name)
