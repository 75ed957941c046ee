"""What shape inference proves of the values of the main graph; what the file claims of them is not read."""

from contextlib import suppress
from dataclasses import dataclass

import onnx
from onnx import ModelProto, ValueInfoProto

from lth_deploy.compiler.importing.light_copy import light_copy

Dims = tuple[int | None, ...]
"""Sizes of a value, None where one is open."""


@dataclass(frozen=True)
class Inferred:
    """dims: of values whose rank is known. types: elements, as in TensorProto.DataType."""

    dims: dict[str, Dims]
    types: dict[str, int]

    def rank(self, name: str) -> int | None:
        """Number of dimensions; None where it is not known."""
        found = self.dims.get(name)
        return None if found is None else len(found)


def infer(model: ModelProto) -> Inferred:
    """Of a model whose inputs may be open in some sizes. Never raises: what cannot be inferred is missing."""
    found = Inferred({}, {tensor.name: tensor.data_type for tensor in model.graph.initializer})
    for value in proven_values(light_copy(model)):
        _note(found, value)
    found.dims.update((tensor.name, tuple(map(int, tensor.dims))) for tensor in model.graph.initializer)
    return found


def proven_values(light: ModelProto) -> tuple[ValueInfoProto, ...]:
    """Inner values, outputs and inputs of a model, which loses what it claims of them. Never raises.

    light: a copy of its own, see `light_copy`.
    """
    del light.graph.value_info[:]
    for output in light.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    with suppress(onnx.shape_inference.InferenceError, ValueError, RuntimeError, TypeError):
        light = onnx.shape_inference.infer_shapes(light)
    return (*light.graph.value_info, *light.graph.output, *light.graph.input)


def _note(found: Inferred, value: ValueInfoProto) -> None:
    kind = value.type.tensor_type
    if kind.elem_type:
        found.types[value.name] = int(kind.elem_type)
    if kind.HasField("shape"):
        dims = kind.shape.dim
        found.dims[value.name] = tuple(int(d.dim_value) if d.dim_value > 0 else None for d in dims)
