"""ONNX's sparse tensors as dense ones."""

import numpy as np
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.unpacked import MAX_DENSE_BYTES
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import MAX_ELEMENTS, check_budget


def densify(model: ModelProto) -> None:
    """Turn, in place, sparse initializers and the sparse values of Constant nodes into dense ones.

    Raises:
        ArtifactError: a shape or an index is impossible, or all of them together are too large.
    """
    nodes = [node for node in all_nodes(model.graph) if _sparse_value(node) is not None]
    sparse = [*model.graph.sparse_initializer, *(one for node in nodes if (one := _sparse_value(node)) is not None)]
    claimed = sum(8 * int(np.prod(one.dims, dtype=object)) for one in sparse)
    if claimed > MAX_DENSE_BYTES:
        raise ArtifactError(f"the sparse tensors claim {claimed} bytes, at most {MAX_DENSE_BYTES} may be")
    for node in nodes:
        value = dense_tensor(node.attribute[0].sparse_tensor)
        node.attribute[0].CopyFrom(helper.make_attribute("value", value))
    model.graph.initializer.extend(dense_tensor(sparse) for sparse in model.graph.sparse_initializer)
    del model.graph.sparse_initializer[:]


def _sparse_value(node: NodeProto) -> SparseTensorProto | None:
    constant = node.op_type == "Constant" and len(node.attribute) == 1
    return node.attribute[0].sparse_tensor if constant and node.attribute[0].name == "sparse_value" else None


def dense_tensor(sparse: SparseTensorProto) -> TensorProto:
    """A sparse tensor in full, with checked indices.

    Raises:
        ArtifactError: its shape or an index is impossible.
    """
    name, shape = sparse.values.name, tuple(sparse.dims)
    elements = int(np.prod(shape, dtype=object))
    if not shape or any(d < 1 for d in shape) or elements > MAX_ELEMENTS:
        raise ArtifactError(f"sparse tensor '{name}' has the impossible shape {list(shape)}")
    values, indices = array_of(sparse.values), array_of(sparse.indices).astype(np.int64)
    check_budget(elements, values.dtype, values.nbytes + indices.nbytes)
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
    return numpy_helper.from_array(dense.reshape(shape), name)
