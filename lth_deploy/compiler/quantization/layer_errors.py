"""What quantization costs each layer: its output, quantized alone, against the float model's."""

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError


def layer_errors(model: ModelProto, quantized: ModelProto, feeds: Iterable[Feeds]) -> dict[str, float]:
    """Root mean square of the error over that of the output, by the name of the weight, over all its layers.

    Each layer gets the float model's input, rounded as its own; what it makes is not rounded. Layers of both models
    are the same where their nodes have the same name.

    Raises:
        ArtifactError: one of the models does not run.
    """
    makers = {name: node for node in quantized.graph.node for name in node.output}
    originals = {node.name: node for node in model.graph.node}
    constants = {tensor.name for tensor in quantized.graph.initializer}
    pairs: list[tuple[str, NodeProto, NodeProto]] = []
    for node in quantized.graph.node:
        weight = makers.get(node.input[1]) if traits_of(node.op_type).float_layer else None
        rounded = weight is not None and weight.op_type == "DequantizeLinear" and weight.input[0] in constants
        if weight is not None and rounded and node.name in originals:
            pairs.append((weight.input[0], node, originals[node.name]))
    if not pairs:
        return {}
    separate = _separate_layers(quantized, [node for _, node, _ in pairs], makers)
    names = list(dict.fromkeys(name for _, _, node in pairs for name in (node.input[0], node.output[0])))
    shown, layers = _session(with_outputs(model, names)), _session(separate)
    error: dict[str, float] = {}
    power: dict[str, float] = {}
    for feed in feeds:
        values: Mapping[str, Array] = dict(zip(names, shown.run(None, feed), strict=True))
        found = layers.run(None, {f"x{i}": values[node.input[0]] for i, (_, _, node) in enumerate(pairs)})
        for (weight, _, node), computed in zip(pairs, found, strict=True):
            exact = values[node.output[0]].astype(np.float64)
            error[weight] = error.get(weight, 0.0) + float(np.square(computed - exact).sum())
            power[weight] = power.get(weight, 0.0) + float(np.square(exact).sum())
    return {name: float(np.sqrt(error[name] / power[name])) if power[name] else 0.0 for name in error}


def _separate_layers(quantized: ModelProto, nodes: list[NodeProto], makers: Mapping[str, NodeProto]) -> ModelProto:
    """Every layer by itself, with the conversions in front of it: inputs x0, x1, ..., outputs y0, y1, ..."""
    copies: list[NodeProto] = []
    for i, node in enumerate(nodes):
        layer = NodeProto()
        layer.CopyFrom(node)
        layer.output[0] = f"y{i}"
        for place, name in enumerate(node.input):
            maker = makers.get(name)
            if maker is None:
                continue
            own = NodeProto()
            own.CopyFrom(maker)
            own.output[0] = f"{i}.{place}"
            own.name = own.output[0]
            if place == 0:
                rounding = helper.make_node("QuantizeLinear", [f"x{i}", *maker.input[1:]], [f"{i}.bytes"])
                own.input[0] = f"{i}.bytes"
                copies.append(rounding)
            layer.input[place] = own.output[0]
            copies.append(own)
        copies.append(layer)
    read = {name for node in copies for name in node.input}
    graph = helper.make_graph(
        copies,
        "layers",
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, None) for i in range(len(nodes))],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(len(nodes))],
        [tensor for tensor in quantized.graph.initializer if tensor.name in read],
    )
    constants = [node for node in all_nodes(quantized.graph) if node.op_type == "Constant" and node.output[0] in read]
    graph.node.extend(constants)
    ordered = [*constants, *copies]
    del graph.node[:]
    graph.node.extend(ordered)
    return helper.make_model(graph, opset_imports=quantized.opset_import, ir_version=quantized.ir_version)


def _session(model: ModelProto) -> "onnxruntime.InferenceSession":  # type: ignore[name-defined]  # noqa: F821
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity()
    try:
        return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        failure = failure_of(error)
        raise ArtifactError(
            f"a layer by itself does not run in ONNX Runtime: {failure.reason}", detail=failure.text
        ) from error
