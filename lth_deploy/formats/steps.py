"""One byte a step: a little larger than gaps, and the fastest to decode in a stock runtime.

A long gap is broken by stored zeros, as in EIE (arXiv 1602.01528). So there are values for every code, and a
decoder needs one running sum where gaps need two.
"""

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.formats.base import Occupancy
from lth_deploy.formats.positions import Places, gaps_of

LONGEST = 255
"""Most empty units that a code can skip."""


class Steps:
    """`steps`: uint8, the number of empty units before each stored one, which is kept or a filler.

    A filler is an empty unit behind 255 others: it stands for the 256th of a longer gap.
    """

    name = "steps8"
    array = "steps"

    def size(self, occupancy: Occupancy) -> tuple[int, int]:
        """Bytes of steps, and kept units with fillers."""
        long_gaps = occupancy.gaps[occupancy.gaps > LONGEST]
        stored = occupancy.kept + int((long_gaps // (LONGEST + 1)).sum())
        return stored, stored

    def encode(self, units: int, places: Places) -> tuple[Array, Places]:
        """`steps`, and the places of fillers among the others."""
        gaps = gaps_of(places)
        fillers = gaps // (LONGEST + 1)
        last = np.cumsum(fillers + 1) - 1
        count = int(last[-1]) + 1 if gaps.size else 0
        steps = np.full(count, LONGEST, np.uint8)
        steps[last] = gaps - fillers * (LONGEST + 1)
        return steps, np.cumsum(steps.astype(np.int64) + 1) - 1

    def decode(self, stream: Array, units: int) -> Places:
        """The sums of all steps."""
        return np.asarray(np.cumsum(stream.astype(np.int64) + 1) - 1)

    def fills(self, places: Places) -> npt.NDArray[np.bool_]:
        """Behind 255 empty units, but not at the end."""
        fillers = gaps_of(places) == LONGEST
        fillers[-1:] = False
        return np.asarray(fillers)
