"""Seeded inputs for a model that comes without images."""

import math
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from lth_deploy.errors import UsageError
from lth_deploy.formats import Array

SIDE = 320
"""Size of a dimension that the model leaves open, pixels of an image in most models."""

MAX_INPUT_BYTES = 1 << 30
"""Most bytes of all inputs together that are made for a model: it may declare any size."""


def noise_feeds(model: ModelProto, seed: int) -> dict[str, Array]:
    """A value for each input of the graph: normal noise for floats, bytes for uint8, 0 and 1 for the rest.

    Raises:
        UsageError: an input has a type that has no noise, or see `noise_sizes`.
    """
    return noise_of(model, noise_sizes(model), seed)


def noise_of(model: ModelProto, sizes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Array]:
    """`noise_feeds` of these sizes.

    Raises:
        UsageError: an input has a type that has no noise.
    """
    rng = np.random.default_rng(seed)
    return {value.name: _noise(value, sizes[value.name], rng) for value in model.graph.input if value.name in sizes}


def noise_sizes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The size of each input of the graph. Open first dimensions of rank 4 are 1 (the batch), others 320.

    Raises:
        UsageError: an input is no tensor, or all of them together are too large.
    """
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialised]
    sizes = {value.name: _size(value) for value in inputs}
    check_input_bytes(model, sizes)
    return sizes


def check_input_bytes(model: ModelProto, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse inputs of these sizes where they are too large, before any is allocated.

    Raises:
        UsageError: they have more than MAX_INPUT_BYTES.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    total = 0
    for name, size in sizes.items():
        total += math.prod(size) * _dtype(types.get(name, 0), name).itemsize
        if total > MAX_INPUT_BYTES:
            raise UsageError(
                f"input '{name}' has the size {' x '.join(map(str, size))}; inputs of more than {MAX_INPUT_BYTES} "
                "bytes are not made: give a model with a smaller input"
            )


def _size(value: ValueInfoProto) -> tuple[int, ...]:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise UsageError(f"input '{value.name}' is no tensor of known rank; give --images and --decoder")
    shape = [dimension.dim_value or SIDE for dimension in value.type.tensor_type.shape.dim]
    if any(size < 0 for size in shape):
        raise UsageError(f"input '{value.name}' has the impossible size {shape}; save the model again")
    if len(shape) == 4 and not value.type.tensor_type.shape.dim[0].dim_value:
        shape[0] = 1
    return tuple(shape)


def _noise(value: ValueInfoProto, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = _dtype(value.type.tensor_type.elem_type, value.name)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise UsageError(f"input '{value.name}' has the type {dtype}; give --images and --decoder")


def _dtype(element: int, name: str) -> "np.dtype[np.generic]":
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(element))
    except KeyError as error:
        raise UsageError(f"input '{name}' has the unknown element type {element}; save the model again") from error
