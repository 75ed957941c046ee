"""A coding of sparse tensors: a way to store positions, for single weights or for blocks, and the raw values."""

from collections.abc import Mapping, Sequence

import numpy as np

from lth_deploy.arrays import Array, Arrays
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import (
    VALUE_TYPES,
    Occupancy,
    check_budget,
    checked_array,
    checked_elements,
    checked_values,
    is_storable,
    total_bytes,
)
from lth_deploy.formats.blocks import has_whole_blocks, join_blocks, split_blocks
from lth_deploy.formats.positions import PositionCoder, gaps_of
from lth_deploy.structures import SINGLE, Block


class Packed:
    """The array of a position coder, and `values`: all weights of each stored unit, units in their order."""

    def __init__(self, positions: PositionCoder, block: Block = SINGLE) -> None:
        self.positions = positions
        self.block = block

    @property
    def name(self) -> str:
        """The coder's name and the block: `gaps4`, `gaps4:1x4`."""
        return self.positions.name + self.block.suffix

    def supports(self, weights: Array) -> bool:
        """Whether the weights are finite floats or symmetric int8, in whole blocks."""
        return is_storable(weights) and has_whole_blocks(weights.shape, self.block)

    def size(self, occupancy: Occupancy) -> int:
        """Bytes of positions and values."""
        position_bytes, stored = self.positions.size(occupancy)
        return position_bytes + stored * occupancy.unit_bytes

    def encode(self, weights: Array) -> Arrays:
        """The array of positions, then `values`."""
        rows = split_blocks(np.ascontiguousarray(weights), self.block)
        stream, stored = self.positions.encode(len(rows), np.flatnonzero(rows.any(axis=1)))
        return {self.positions.array: stream, "values": rows[stored].reshape(-1)}

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The tensor again.

        Raises:
            ArtifactError: see `Format.decode`.
        """
        elements = checked_elements(shape)
        if not has_whole_blocks(shape, self.block):
            raise ArtifactError(f"the shape {list(shape)} is not made of blocks of {self.block.dims}")
        stream = checked_array(arrays, self.positions.array, [np.dtype(np.uint8)])
        kept_values = checked_array(arrays, "values", VALUE_TYPES)
        check_budget(elements, kept_values.dtype, stream.nbytes + kept_values.nbytes)
        units = elements // self.block.size
        stored = self.positions.decode(stream, units)
        if stored.size and stored[-1] >= units:
            raise ArtifactError(f"a value lies at position {stored[-1]} of {units}")
        values = checked_values(arrays, stored.size * self.block.size).reshape(-1, self.block.size)
        empty = ~values.any(axis=1)
        if (empty & ~self.positions.fills(stored)).any():
            what = "value is zero" if self.block.size == 1 else "block is all zeros"
            raise ArtifactError(f"a stored {what}, and is no filler; zeros are not stored")
        rows = np.zeros((units, self.block.size), values.dtype)
        rows[stored] = values
        return join_blocks(rows, shape, self.block)

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of positions and values."""
        return total_bytes(arrays)


def occupancy(weights: Array, block: Block = SINGLE) -> Occupancy:
    """Find the units of a tensor that hold a weight other than zero; the tensor is made of whole blocks."""
    rows = split_blocks(weights, block)
    places = np.flatnonzero(rows.any(axis=1)) if block.size > 1 else np.flatnonzero(weights)
    return Occupancy(len(rows), gaps_of(places), block.size * weights.dtype.itemsize)
