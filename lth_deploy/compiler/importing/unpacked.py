"""Packed weights and regions of our own files back into dense initializers and standard operators."""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.artifact.packed_weight import StoredWeight, stored_weights
from lth_deploy.compiler.model.traverse import consumed_names
from lth_deploy.errors import ArtifactError

MAX_DENSE_BYTES = 1 << 32
"""Most bytes that all packed weights of a file may decode to: small files must not claim all memory."""


def unpack_model(model: ModelProto) -> ModelProto:
    """The dense model of a packed one, regions included; fp16 weights become float32. Always a copy.

    Raises:
        ArtifactError: a packed tensor is damaged, or all of them together are too large.
    """
    dense = expand_regions(model)
    if dense is model:
        dense = ModelProto()
        dense.CopyFrom(model)
    weights = [weight for weight in stored_weights(dense).values() if weight.node is not None]
    declared = sum(4 * int(np.prod(weight.shape, dtype=object)) for weight in weights)
    if declared > MAX_DENSE_BYTES:
        raise ArtifactError(f"the packed weights claim {declared} bytes, at most {MAX_DENSE_BYTES} may be")
    if weights:  # otherwise every tensor would be copied once more
        _decode(dense, weights)
    _drop_domain(dense)
    return dense


def _decode(model: ModelProto, weights: Sequence[StoredWeight]) -> None:
    """Put dense initializers in the place of packed weights and of the nodes that decode them."""
    graph = model.graph
    done = {weight.node.output[0] for weight in weights if weight.node is not None}
    nodes = [node for node in graph.node if not (done & set(node.output))]
    del graph.node[:]
    graph.node.extend(nodes)
    replaced = {tensor.name: weight for weight in weights for tensor in weight.tensors.values()}
    still_used = consumed_names(model)
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


def _drop_domain(model: ModelProto) -> None:
    functions = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(functions)
    imports = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(imports)
