"""Weights of half precision in `inspect`, which looks at a model as export imports it: with these in float32."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy.element_types import HALF_TYPES, weight_type

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

    from lth_deploy.workflow.inspect.report import LayerRow


def half_tensors(model: "ModelProto") -> "dict[str, TensorProto]":
    """The initializers of half precision of a file, by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type in HALF_TYPES}


def in_own_type(row: "LayerRow", halves: "Mapping[str, TensorProto]") -> "LayerRow":
    """The row of a layer with the bytes and the type that its weight has in the file."""
    tensor = halves.get(row.name)
    if tensor is None or not row.coding.startswith("dense"):
        return row
    return replace(row, bytes=2 * row.elements, coding=f"dense {weight_type(tensor.data_type).short}")


def zero_bytes(model: "ModelProto", halves: "Mapping[str, TensorProto]") -> int:
    """Bytes of tensors stored in full that are spent on zeros; of `halves` in their own type."""
    from lth_deploy.compiler.artifact.packed_weight import stored_weights
    from lth_deploy.compiler.model.tensor_types import is_float

    total = 0
    for name, stored in stored_weights(model).items():
        if stored.coding == "dense":
            values = stored.weights()
            if is_float(values.dtype):
                zeros = values.size - int(np.count_nonzero(values))
                total += zeros * (2 if name in halves else values.dtype.itemsize)
    return total
