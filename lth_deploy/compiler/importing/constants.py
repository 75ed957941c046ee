"""Constant nodes and copies of constants as initializers."""

from onnx import ModelProto, TensorProto

from lth_deploy.compiler.stored import tensor_bytes
from lth_deploy.compiler.walk import all_graphs, all_nodes

_LIFT_BYTES = 1024


def lift_constants(model: ModelProto) -> None:
    """Make initializers of large Constant nodes, as some exporters store weights."""
    kept = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and tensor_bytes(value) >= _LIFT_BYTES:
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


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
