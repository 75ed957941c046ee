"""ONNX's sparse initializers as dense ones."""

import numpy as np
from onnx import ModelProto, numpy_helper

from lth_deploy.compiler.stored import array_of
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import MAX_ELEMENTS


def densify(model: ModelProto) -> None:
    """Turn, in place, sparse initializers into dense ones.

    Raises:
        ArtifactError: a shape or an index is impossible.
    """
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
