"""What a sparse format is: one way to store the non-zero weights of a tensor as a few flat arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

MAX_ELEMENTS = 1 << 29
"""Most weights of one tensor: beyond this its dense twin does not fit an ONNX file (2 GiB) any more."""

MAX_RANK = 8
VALUE_TYPES = (np.dtype(np.float32), np.dtype(np.float16))


@dataclass(frozen=True)
class Occupancy:
    """Where the non-zero weights of a tensor are: all that the size of a coding depends on.

    elements: number of weights. gaps: int64, for every non-zero weight in row-major order the number of
    zeros between it and the one before. value_bytes: bytes of one stored value.
    """

    elements: int
    gaps: npt.NDArray[np.int64]
    value_bytes: int

    @property
    def nonzeros(self) -> int:
        """Number of weights that are not zero."""
        return int(self.gaps.size)

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Flat indices of the non-zero weights, rising."""
        return np.cumsum(self.gaps + 1) - 1


class Format(Protocol):
    """One coding of sparse tensors; the decoded tensor equals the encoded one bit for bit (-0 becomes 0)."""

    @property
    def name(self) -> str:
        """The name in the registry, in reports and in files."""

    def supports(self, weights: Array) -> bool:
        """Whether `encode` can represent this tensor exactly."""

    def size(self, occupancy: Occupancy) -> int:
        """Bytes that `encode` would need, without encoding."""

    def encode(self, weights: Array) -> Arrays:
        """The arrays of this coding, in the order of the node's inputs."""

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The tensor again.

        Raises:
            ArtifactError: the arrays break a rule of the format, or do not fit `shape`.
        """

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of the arrays."""


def occupancy(weights: Array) -> Occupancy:
    """Find the non-zero weights of a tensor of any shape."""
    positions = np.flatnonzero(weights)
    return Occupancy(weights.size, np.diff(positions, prepend=-1) - 1, weights.dtype.itemsize)


def total_bytes(arrays: Mapping[str, Array]) -> int:
    """Bytes of all arrays together."""
    return sum(array.nbytes for array in arrays.values())


def is_storable(weights: Array) -> bool:
    """Whether a tensor has a type, size and values that the sparse codings may hold."""
    return (
        weights.dtype in VALUE_TYPES
        and 0 < weights.size <= MAX_ELEMENTS
        and 1 <= weights.ndim <= MAX_RANK
        and bool(np.isfinite(weights).all())
    )


def checked_elements(shape: Sequence[int]) -> int:
    """Number of weights of a tensor of this shape.

    Raises:
        ArtifactError: the shape is empty, has a dimension below 1, or too many elements.
    """
    if not 1 <= len(shape) <= MAX_RANK:
        raise ArtifactError(f"a packed tensor has 1 to {MAX_RANK} dimensions, found {len(shape)}")
    if any(dimension < 1 for dimension in shape):
        raise ArtifactError(f"every dimension of a packed tensor is at least 1, found {list(shape)}")
    elements = math.prod(shape)  # Python integers: this cannot overflow
    if elements > MAX_ELEMENTS:
        raise ArtifactError(f"a packed tensor has at most {MAX_ELEMENTS} weights, found {list(shape)}")
    return elements


def checked_array(arrays: Mapping[str, Array], name: str, dtypes: Sequence[np.dtype[Any]]) -> Array:
    """One flat array of a coding.

    Raises:
        ArtifactError: it is missing, not one-dimensional, or of another type.
    """
    if name not in arrays:
        raise ArtifactError(f"a packed tensor lacks its '{name}', found {sorted(arrays)}")
    array = arrays[name]
    if array.dtype not in dtypes:
        allowed = " or ".join(str(dtype) for dtype in dtypes)
        raise ArtifactError(f"'{name}' must be {allowed}, found {array.dtype}")
    if array.ndim != 1:
        raise ArtifactError(f"'{name}' must have one dimension, found the shape {list(array.shape)}")
    return array


def checked_values(arrays: Mapping[str, Array], count: int, *, fillers: bool = False) -> Array:
    """The stored values, of which there must be `count`, all finite, and none zero unless `fillers`.

    Raises:
        ArtifactError: their number, type or one of them is wrong.
    """
    values = checked_array(arrays, "values", VALUE_TYPES)
    if values.size != count:
        raise ArtifactError(f"the positions name {count} weights, but {values.size} values are stored")
    if not np.isfinite(values).all():
        raise ArtifactError("a stored value is NaN or infinite")
    if not fillers and np.count_nonzero(values) != values.size:
        raise ArtifactError("a stored value is zero; zeros are not stored")
    return values
