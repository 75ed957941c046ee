"""Weights of half precision in `inspect`, which looks at a model as export imports it: with these in float32."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

    from lth_deploy.workflow.inspect.report import LayerRow


def half_tensors(model: "ModelProto") -> "dict[str, TensorProto]":
    """The initializers of half precision of a file, by name."""
    from lth_deploy.compiler.artifact.half_weights import HALF_TYPES

    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type in HALF_TYPES}


def in_own_type(row: "LayerRow", halves: "Mapping[str, TensorProto]") -> "LayerRow":
    """The row of a layer with the bytes and the type that its weight has in the file."""
    from onnx import TensorProto

    tensor = halves.get(row.name)
    if tensor is None or not row.coding.startswith("dense"):
        return row
    kind = "bf16" if tensor.data_type == TensorProto.BFLOAT16 else "fp16"
    return replace(row, bytes=2 * row.elements, coding=f"dense {kind}")


def zero_bytes(model: "ModelProto", halves: "Mapping[str, TensorProto]") -> int:
    """Bytes of tensors stored in full that are spent on zeros; of `halves` in their own type."""
    from lth_deploy.compiler.artifact.packed_weight import stored_weights

    total = 0
    for name, stored in stored_weights(model).items():
        if stored.coding == "dense":
            values = stored.weights()
            if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
                zeros = values.size - int(np.count_nonzero(values))
                total += zeros * (2 if name in halves else values.dtype.itemsize)
    return total
