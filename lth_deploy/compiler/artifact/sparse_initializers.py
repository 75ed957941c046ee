"""The last pass of `--format coo`: ONNX's own sparse initializers, made dense at load."""

import numpy as np
from onnx import ModelProto, SparseTensorProto, numpy_helper

from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel, without_initializers
from lth_deploy.formats.base import within_budget

INDEX_BYTES = 8
"""ONNX wants indices as INT64; runtimes that take smaller ones leave the standard."""


def to_sparse_initializers(model: NormalizedModel) -> ModelProto:
    """The model with its sparse weights as linear-indexed sparse initializers, where that is smaller.

    Values stay float32: a sparse fp16 tensor would need a Cast, and then no runtime reads it as a weight.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    sparse = without_initializers(model.proto)
    layers = [layer for layer in weight_layers(model.proto) if layer.obstacle is None]
    # A runtime returns no sparse tensor where it promised a dense one.
    returned = {value.name for value in sparse.graph.output}
    layers = [layer for layer in layers if layer.name not in returned]
    names = {layer.name for layer in layers if _pays(layer.elements, layer.elements - layer.zeros)}
    for tensor in model.proto.graph.initializer:
        if tensor.name not in names:
            sparse.graph.initializer.append(tensor)
            continue
        weights = numpy_helper.to_array(tensor)
        positions = np.flatnonzero(weights).astype(np.int64)
        entry = SparseTensorProto(dims=list(weights.shape))
        entry.values.CopyFrom(numpy_helper.from_array(weights.reshape(-1)[positions], tensor.name))
        entry.indices.CopyFrom(numpy_helper.from_array(positions, f"{tensor.name}.indices"))
        sparse.graph.sparse_initializer.append(entry)
    return sparse


def coo_bytes(elements: int, nonzeros: int, value_bytes: int = 4) -> int:
    """Bytes of a tensor as a sparse initializer, or dense where that is smaller."""
    return min(elements * value_bytes, nonzeros * (INDEX_BYTES + value_bytes))


def _pays(elements: int, nonzeros: int) -> bool:
    # A tensor of zeros only stays dense: not every runtime takes a sparse tensor without values.
    size = coo_bytes(elements, nonzeros)
    return nonzeros > 0 and size < elements * 4 and within_budget(elements, np.dtype(np.float32), size)
