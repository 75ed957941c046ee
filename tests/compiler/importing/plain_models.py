"""Import of a model to the plain form, and the way back with other weights: both computed by ONNX Runtime."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.imported import ImportedModel, import_model
from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
from tests.compiler.importing.node_cases import near, run


def imported_alike(model: ModelProto, feeds: Mapping[str, Any], **options: Any) -> ImportedModel:
    """Import, and hold what became of the model to it; then the same with half of all weights gone, and other biases.

    Where the original multiplies a channel by zero, no bias of its layer is seen, so it stays.
    """
    imported = import_model(model, **options)
    assert near(run(model, feeds), run(imported.normalized.proto, feeds))
    names = {layer.weight for layer in imported.layers} | {layer.bias for layer in imported.layers if layer.bias}
    unseen = {layer.bias for layer in imported.layers if not layer.after.scale.all()}
    rng = np.random.default_rng(7)
    other = {}
    for tensor in imported.normalized.proto.graph.initializer:
        if tensor.name in names - unseen:
            value = array_of(tensor).astype(np.float32)
            kept = rng.random(value.shape) > 0.5
            other[tensor.name] = value * kept if value.ndim > 1 else value + np.float32(0.1) * (value != 0)
    ticket = imported.normalized.with_tensors(other)
    restored = original_with_weights(imported, changed_weights(imported, ticket))
    assert near(run(restored, feeds), run(ticket.proto, feeds))
    return imported


def operators(imported: ImportedModel, without: Collection[str] = ("Constant",)) -> list[str]:
    """Of the normalized model, in order."""
    return [node.op_type for node in imported.normalized.proto.graph.node if node.op_type not in without]
