"""What a sparse format is: one way to store the non-zero weights of a tensor as a few flat arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array, Arrays
from lth_deploy.element_types import FLOAT16, FLOAT32, INT8
from lth_deploy.errors import ArtifactError
from lth_deploy.structures import Block

MAX_ELEMENTS = 1 << 29
"""Most weights of one tensor: beyond this its dense twin does not fit an ONNX file (2 GiB) any more."""

FREE_BYTES = 64 << 20
DECODED_PER_BYTE = 1024
"""A packed tensor decodes to at most FREE_BYTES + DECODED_PER_BYTE x its stored bytes: a small file must not claim
all memory. At 99.9 percent zeros the factor is below 800; only larger tensors of almost nothing stay dense."""

MAX_RANK = 8
BF16 = np.dtype(ml_dtypes.bfloat16)
VALUE_TYPES = (*(np.dtype(kind.numpy) for kind in (FLOAT32, FLOAT16, INT8)), BF16)


@dataclass(frozen=True)
class Occupancy:
    """Where the units of a tensor with a weight that is not zero are: all that the size of a coding depends on.

    A unit is a weight, or a block of them. units: how many there are. gaps: int64, for every kept unit in their
    order the number of units between it and the one before. unit_bytes: bytes of the stored values of one unit.
    """

    units: int
    gaps: npt.NDArray[np.int64]
    unit_bytes: int

    @property
    def kept(self) -> int:
        """Number of units with a weight that is not zero."""
        return int(self.gaps.size)


class Format(Protocol):
    """One coding of sparse tensors; the decoded tensor equals the encoded one bit for bit (-0 becomes 0)."""

    @property
    def name(self) -> str:
        """The name in the registry, in reports and in files."""

    @property
    def block(self) -> Block:
        """What has one position: a single weight, or a block of them."""

    def supports(self, weights: Array) -> bool:
        """Whether `encode` can represent this tensor exactly."""

    def size(self, occupancy: Occupancy) -> int:
        """Bytes that `encode` would need, without encoding; of the occupancy in the format's block."""

    def encode(self, weights: Array) -> Arrays:
        """The arrays of this coding, in the order of the node's inputs."""

    def decode(self, arrays: Mapping[str, Array], shape: Sequence[int]) -> Array:
        """The tensor again.

        Raises:
            ArtifactError: the arrays break a rule of the format, or do not fit `shape`.
        """

    def nbytes(self, arrays: Mapping[str, Array]) -> int:
        """Bytes of the arrays."""


def total_bytes(arrays: Mapping[str, Array]) -> int:
    """Bytes of all arrays together."""
    return sum(array.nbytes for array in arrays.values())


def is_storable(weights: Array) -> bool:
    """Whether a tensor has a type, size and values that the sparse codings may hold."""
    return (
        weights.dtype in VALUE_TYPES
        and 0 < weights.size <= MAX_ELEMENTS
        and 1 <= weights.ndim <= MAX_RANK
        and _sound(weights)
    )


def _sound(values: Array) -> bool:
    return values.dtype == np.int8 or bool(np.isfinite(values).all())


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


def decoded_bytes(elements: int, dtype: np.dtype[Any]) -> int:
    """Bytes of a decoded tensor: stored float16 and bfloat16 become float32."""
    return elements * (1 if dtype == np.int8 else 4)


def within_budget(elements: int, dtype: np.dtype[Any], stored: int) -> bool:
    """Whether a tensor may be stored in so few bytes."""
    return decoded_bytes(elements, dtype) <= FREE_BYTES + DECODED_PER_BYTE * stored


def check_budget(elements: int, dtype: np.dtype[Any], stored: int) -> None:
    """Refuse a tensor that decodes to more than its stored bytes may claim.

    Raises:
        ArtifactError: see above.
    """
    if not within_budget(elements, dtype, stored):
        raise ArtifactError(
            f"{stored} stored bytes claim {decoded_bytes(elements, dtype)} decoded ones; at most {FREE_BYTES} and "
            f"{DECODED_PER_BYTE} for each stored byte are allowed"
        )


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


def checked_values(arrays: Mapping[str, Array], count: int) -> Array:
    """The stored values, of which there must be `count`, all finite.

    Raises:
        ArtifactError: their number, type or one of them is wrong.
    """
    values = checked_array(arrays, "values", VALUE_TYPES)
    if values.size != count:
        raise ArtifactError(f"the positions name {count} weights, but {values.size} values are stored")
    if not _sound(values):
        raise ArtifactError("a stored value is NaN or infinite")
    return values
