"""One byte and one value a step: a little larger than gaps, and the fastest to decode in a stock runtime.

A long gap is broken by stored zeros, as in EIE (arXiv 1602.01528). So there is a value for every code, and a
decoder needs one running sum where gaps need two.
"""

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
    occupancy,
    total_bytes,
)

LONGEST = 255
"""Most zeros that a code can skip."""


class Steps:
    """`steps`: uint8, the number of zeros before each stored value; `values`: non-zero weights and fillers.

    A filler is a stored zero behind 255 zeros: it stands for the 256th of a longer gap.
    """

    name = "steps8"

    def supports(self, weights: Array) -> bool:
        """Whether the weights are finite floats."""
        return is_storable(weights)

    def size(self, occupancy: Occupancy) -> int:
        """Bytes of codes and values."""
        long_gaps = occupancy.gaps[occupancy.gaps > LONGEST]
        stored = occupancy.nonzeros + int((long_gaps // (LONGEST + 1)).sum())
        return stored * (1 + occupancy.value_bytes)

    def encode(self, weights: Array) -> Arrays:
        """`steps` and `values`."""
        flat = np.ascontiguousarray(weights).reshape(-1)
        gaps = occupancy(flat).gaps
        fillers = gaps // (LONGEST + 1)
        last = np.cumsum(fillers + 1) - 1
        count = int(last[-1]) + 1 if gaps.size else 0
        steps = np.full(count, LONGEST, np.uint8)
        steps[last] = gaps - fillers * (LONGEST + 1)
        values = np.zeros(count, flat.dtype)
        values[last] = flat[np.flatnonzero(flat)]
        return {"steps": steps, "values": values}

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The tensor again.

        Raises:
            ArtifactError: see `Format.decode`.
        """
        elements = checked_elements(shape)
        steps = checked_array(arrays, "steps", [np.dtype(np.uint8)])
        values = checked_values(arrays, steps.size, fillers=True)
        if values.size and (values[-1] == 0 or (steps[values == 0] != LONGEST).any()):
            raise ArtifactError(f"a stored zero is no filler behind {LONGEST} zeros, or is the last value")
        positions = np.cumsum(steps.astype(np.int64) + 1) - 1
        if positions.size and positions[-1] >= elements:
            raise ArtifactError(f"a value lies at position {positions[-1]} of {elements}")
        weights = np.zeros(elements, values.dtype)
        weights[positions] = values
        return weights.reshape(shape)

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of codes and values."""
        return total_bytes(arrays)
