"""One bit a unit: smallest from a few percent to about 75 percent zeros."""

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import Occupancy
from lth_deploy.formats.positions import Places


class Bitmask:
    """`bits`: uint8, unit i is kept when bit i % 8 (lowest first) of byte i // 8 is set."""

    name = "bitmask"
    array = "bits"

    def size(self, occupancy: Occupancy) -> tuple[int, int]:
        """Bytes of bits, and the kept units."""
        return (occupancy.units + 7) // 8, occupancy.kept

    def encode(self, units: int, places: Places) -> tuple[Array, Places]:
        """`bits`."""
        mask = np.zeros(units, np.bool_)
        mask[places] = True
        return np.packbits(mask, bitorder="little"), places

    def decode(self, stream: Array, units: int) -> Places:
        """Places of set bits; padding bits must be zero.

        Raises:
            ArtifactError: another number of bytes, or a bit behind the last unit is set.
        """
        expected = (units + 7) // 8
        if stream.size != expected:
            raise ArtifactError(f"{units} positions need {expected} bytes of bits, found {stream.size}")
        mask = np.unpackbits(stream, bitorder="little").view(np.bool_)
        if mask[units:].any():
            raise ArtifactError("a padding bit behind the last position is set")
        return np.flatnonzero(mask[:units])

    def fills(self, places: Places) -> npt.NDArray[np.bool_]:
        """Nowhere."""
        return np.zeros(places.size, np.bool_)
