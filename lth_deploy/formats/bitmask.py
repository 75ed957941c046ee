"""One bit a weight, then the non-zero values: smallest from a few percent to about 75 percent zeros."""

from collections.abc import Mapping, Sequence

import numpy as np

from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import (
    Array,
    Arrays,
    Occupancy,
    checked_array,
    checked_elements,
    checked_values,
    is_storable,
    total_bytes,
)


class Bitmask:
    """`bits`: uint8, weight i is non-zero when bit i % 8 (lowest first) of byte i // 8 is set; `values`."""

    name = "bitmask"

    def supports(self, weights: Array) -> bool:
        """Whether the weights are finite floats."""
        return is_storable(weights)

    def size(self, occupancy: Occupancy) -> int:
        """Bytes of bits and values."""
        return (occupancy.elements + 7) // 8 + occupancy.nonzeros * occupancy.value_bytes

    def encode(self, weights: Array) -> Arrays:
        """`bits` and `values`."""
        flat = np.ascontiguousarray(weights).reshape(-1)
        mask = flat != 0
        return {"bits": np.packbits(mask, bitorder="little"), "values": flat[mask]}

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The tensor again; padding bits must be zero.

        Raises:
            ArtifactError: see `Format.decode`.
        """
        elements = checked_elements(shape)
        bits = checked_array(arrays, "bits", [np.dtype(np.uint8)])
        expected = (elements + 7) // 8
        if bits.size != expected:
            raise ArtifactError(f"{elements} weights need {expected} bytes of bits, found {bits.size}")
        mask = np.unpackbits(bits, bitorder="little").view(np.bool_)
        if mask[elements:].any():
            raise ArtifactError("a padding bit behind the last weight is set")
        mask = mask[:elements]
        values = checked_values(arrays, int(np.count_nonzero(mask)))
        weights = np.zeros(elements, values.dtype)
        weights[mask] = values
        return weights.reshape(shape)

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of bits and values."""
        return total_bytes(arrays)
