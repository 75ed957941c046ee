"""Every weight in full: what is left when no sparse coding is smaller."""

from collections.abc import Mapping, Sequence

import numpy as np

from lth_deploy.arrays import Array, Arrays
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import VALUE_TYPES, Occupancy, checked_array, checked_elements, total_bytes
from lth_deploy.structures import SINGLE


class Dense:
    """The tensor as it is, flat in row-major order."""

    name = "dense"
    block = SINGLE

    def supports(self, weights: Array) -> bool:
        """Whether this is a tensor of floats or int8; values may be anything."""
        return weights.dtype in VALUE_TYPES

    def size(self, occupancy: Occupancy) -> int:
        """Bytes of all weights."""
        return occupancy.units * occupancy.unit_bytes

    def encode(self, weights: Array) -> Arrays:
        """`values`: all weights."""
        return {"values": np.ascontiguousarray(weights).reshape(-1)}

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The weights in their shape.

        Raises:
            ArtifactError: their number is not that of the shape.
        """
        elements = checked_elements(shape)
        values = checked_array(arrays, "values", VALUE_TYPES)
        if values.size != elements:
            raise ArtifactError(f"the shape {list(shape)} has {elements} weights, {values.size} are stored")
        return values.reshape(shape).copy()

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of the values."""
        return total_bytes(arrays)
