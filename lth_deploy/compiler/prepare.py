"""Bringing any ONNX model into the one form that the passes work on: weights as plain dense initializers."""

import logging

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper, version_converter

from lth_deploy.compiler.domain import DOMAIN, MIN_IR_VERSION, MIN_OPSET
from lth_deploy.compiler.opset import standard_opset
from lth_deploy.compiler.regions.expand import expand_regions
from lth_deploy.compiler.stored import array_of, stored_weights, tensor_bytes
from lth_deploy.compiler.walk import all_graphs, all_nodes, consumed_names
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import MAX_ELEMENTS

logger = logging.getLogger(__name__)

MAX_DENSE_BYTES = 1 << 32
"""Most bytes that all packed weights of a file may decode to: small files must not claim all memory."""

_LIFT_BYTES = 1024


def prepare(model: ModelProto) -> ModelProto:
    """A copy in plain form: nothing packed, no sparse initializers, large constants and their copies as initializers.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or the model is too old to convert.
    """
    plain = unpack_model(model)
    _densify(plain)
    plain = _modern(plain)
    _lift_constants(plain)
    _drop_copies(plain)
    return plain


def unpack_model(model: ModelProto) -> ModelProto:
    """The dense model of a packed one, regions included; fp16 weights become float32. A dense model comes back equal.

    Raises:
        ArtifactError: a packed tensor is damaged, or all of them together are too large.
    """
    dense = ModelProto()
    dense.CopyFrom(expand_regions(model))
    weights = [weight for weight in stored_weights(dense).values() if weight.node is not None]
    declared = sum(4 * int(np.prod(weight.shape, dtype=object)) for weight in weights)
    if declared > MAX_DENSE_BYTES:
        raise ArtifactError(f"the packed weights claim {declared} bytes, at most {MAX_DENSE_BYTES} may be")
    graph = dense.graph
    done = {weight.node.output[0] for weight in weights if weight.node is not None}
    nodes = [node for node in graph.node if not (done & set(node.output))]
    del graph.node[:]
    graph.node.extend(nodes)
    replaced = {tensor.name: weight for weight in weights for tensor in weight.tensors.values()}
    still_used = consumed_names(dense)
    initializers: list[TensorProto] = []
    for tensor in graph.initializer:
        source = replaced.get(tensor.name)
        if source is None or tensor.name in still_used:
            initializers.append(tensor)
        if source is not None and source.name in done:
            done.discard(source.name)
            full = source.weights()
            full = full if source.int8 else full.astype(np.float32)
            initializers.append(numpy_helper.from_array(full, source.name))
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    _drop_domain(dense)
    return dense


def _drop_domain(model: ModelProto) -> None:
    functions = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(functions)
    imports = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _densify(model: ModelProto) -> None:
    """Turn sparse initializers into dense ones, with checked indices."""
    for sparse in model.graph.sparse_initializer:
        name, shape = sparse.values.name, tuple(sparse.dims)
        elements = int(np.prod(shape, dtype=object))
        if not shape or any(d < 1 for d in shape) or elements > MAX_ELEMENTS:
            raise ArtifactError(f"sparse tensor '{name}' has the impossible shape {list(shape)}")
        values, indices = array_of(sparse.values), array_of(sparse.indices).astype(np.int64)
        if indices.ndim == 2 and indices.shape == (values.size, len(shape)):
            if indices.size and ((indices < 0) | (indices >= np.array(shape))).any():
                raise ArtifactError(f"sparse tensor '{name}' has indices outside its shape {list(shape)}")
            indices = np.asarray(np.ravel_multi_index(tuple(indices.T), shape), np.int64)
        if values.ndim != 1 or indices.shape != values.shape:
            raise ArtifactError(f"sparse tensor '{name}': {values.shape} values, {indices.shape} indices")
        if indices.size and (indices[0] < 0 or indices[-1] >= elements or (np.diff(indices) < 1).any()):
            raise ArtifactError(f"sparse tensor '{name}': indices must rise and stay below {elements}")
        dense = np.zeros(elements, values.dtype)
        dense[indices] = values
        model.graph.initializer.append(numpy_helper.from_array(dense.reshape(shape), name))
    del model.graph.sparse_initializer[:]


def _modern(model: ModelProto) -> ModelProto:
    """Raise opset and file version to what function bodies need."""
    opset = standard_opset(model)
    if opset < MIN_OPSET:
        logger.warning("the model has opset %d; converting it to 18, which the output gate checks", opset)
        try:
            model = version_converter.convert_version(model, 18)
        except Exception as error:  # the converter raises bare RuntimeError and its own types
            raise ArtifactError(
                f"opset {opset} is older than {MIN_OPSET} and could not be converted: {error}; "
                f"export the model again with opset {MIN_OPSET} or later"
            ) from error
    if model.ir_version < 4:
        # Before version 4 every initializer had to be listed as an input; nobody meant to replace weights.
        names = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    return model


def _lift_constants(model: ModelProto) -> None:
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


def _drop_copies(model: ModelProto) -> None:
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
