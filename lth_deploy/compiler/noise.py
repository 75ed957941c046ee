"""Seeded inputs for a model that comes without images."""

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from lth_deploy.errors import UsageError
from lth_deploy.formats import Array

SIDE = 320
"""Size of a dimension that the model leaves open, pixels of an image in most models."""


def noise_feeds(model: ModelProto, seed: int) -> dict[str, Array]:
    """A value for each input of the graph: normal noise for floats, bytes for uint8, 0 and 1 for the rest.

    Open first dimensions of rank 4 are 1 (the batch), other open dimensions 320.

    Raises:
        UsageError: an input is no tensor, or of a type that has no noise.
    """
    rng = np.random.default_rng(seed)
    initialised = {tensor.name for tensor in model.graph.initializer}
    return {value.name: _noise(value, rng) for value in model.graph.input if value.name not in initialised}


def _noise(value: ValueInfoProto, rng: np.random.Generator) -> Array:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise UsageError(f"input '{value.name}' is no tensor of known rank; give --images and --decoder")
    shape = [dimension.dim_value or SIDE for dimension in value.type.tensor_type.shape.dim]
    if len(shape) == 4 and not value.type.tensor_type.shape.dim[0].dim_value:
        shape[0] = 1
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise UsageError(f"input '{value.name}' has the type {dtype}; give --images and --decoder")
