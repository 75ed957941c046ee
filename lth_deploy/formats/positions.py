"""What codings differ in: how the places of kept units become bytes. A unit is a weight or a block of weights."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.formats.base import Occupancy

Places = npt.NDArray[np.int64]


class PositionCoder(Protocol):
    """One way to store rising places below a number of units."""

    @property
    def name(self) -> str:
        """Name of the coding."""

    @property
    def array(self) -> str:
        """Name of its array of bytes."""

    def size(self, occupancy: Occupancy) -> tuple[int, int]:
        """Bytes of the array, and the number of units whose values are stored: the kept ones, and fillers."""

    def encode(self, units: int, places: Places) -> tuple[Array, Places]:
        """The array for kept `places`, and all places whose values are stored."""

    def decode(self, stream: Array, units: int) -> Places:
        """Places whose values are stored, rising; not yet held against `units` at their end.

        Raises:
            ArtifactError: the array breaks a rule of the coding.
        """

    def fills(self, places: Places) -> npt.NDArray[np.bool_]:
        """At which of its stored places the values may all be zero."""


def gaps_of(places: Places) -> Places:
    """Units between each place and the one before."""
    return np.diff(places, prepend=-1) - 1
