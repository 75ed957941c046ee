"""The number of empty units before each kept one, in a few bits: smallest above 75 percent zeros.

Unlike the padded zeros of EIE (arXiv 1602.01528) an escape stores no value, so that long gaps stay cheap.
"""

import math

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.errors import ArtifactError
from lth_deploy.formats.base import Occupancy
from lth_deploy.formats.positions import Places, gaps_of

Codes = npt.NDArray[np.uint16]

WIDTHS = (4, 6, 8, 10, 12, 16)
"""Bits of a code. 4 and 8 alone miss 1.08 times the entropy at 95.5 percent and above 99.5 percent zeros."""


class Gaps:
    """`gaps`: uint8, codes of `width` bits, lowest bits first.

    With E = 2**width - 1, a code below E is that many empty units and then a kept one; E itself is E empty units.
    What is behind the last kept unit is not coded. Codes E fill the last group of whole bytes.
    """

    array = "gaps"

    def __init__(self, width: int) -> None:
        self.width = width
        self.escape = (1 << width) - 1
        # The fewest whole bytes that hold a whole number of codes.
        self.group_bytes = math.lcm(width, 8) // 8
        self.group_codes = self.group_bytes * 8 // width

    @property
    def name(self) -> str:
        """`gaps4`, `gaps8` and so on."""
        return f"gaps{self.width}"

    def size(self, occupancy: Occupancy) -> tuple[int, int]:
        """Bytes of codes, and the kept units."""
        long_gaps = occupancy.gaps[occupancy.gaps >= self.escape]
        codes = occupancy.kept + int((long_gaps // self.escape).sum())
        return self._padded(codes) * self.width // 8, occupancy.kept

    def encode(self, units: int, places: Places) -> tuple[Array, Places]:
        """`gaps`."""
        gaps = gaps_of(places)
        escapes = gaps // self.escape
        last = np.cumsum(escapes + 1) - 1
        count = int(last[-1]) + 1 if gaps.size else 0
        codes = np.full(self._padded(count), self.escape, np.uint16)
        codes[last] = gaps - escapes * self.escape
        return self._to_bytes(codes), places

    def decode(self, stream: Array, units: int) -> Places:
        """Places of the codes that are no escapes; behind the last there may only be the padding of its group.

        Raises:
            ArtifactError: the codes do not fill whole groups, or more or fewer are there than needed.
        """
        if stream.size % self.group_bytes:
            raise ArtifactError(f"{stream.size} bytes of gaps are no multiple of {self.group_bytes}")
        codes = self._from_bytes(stream)
        is_kept = codes < self.escape
        places = np.cumsum(codes.astype(np.int64) + is_kept)[is_kept] - 1
        used = int(np.flatnonzero(is_kept)[-1]) + 1 if places.size else 0
        if self._padded(used) != codes.size:
            raise ArtifactError(f"{codes.size} codes are stored where {self._padded(used)} are needed")
        return np.asarray(places)

    def fills(self, places: Places) -> npt.NDArray[np.bool_]:
        """Nowhere."""
        return np.zeros(places.size, np.bool_)

    def _padded(self, codes: int) -> int:
        return -(-codes // self.group_codes) * self.group_codes

    def _to_bytes(self, codes: Codes) -> npt.NDArray[np.uint8]:
        if self.width == 8:
            return codes.astype(np.uint8)
        if self.width == 16:
            return codes.astype("<u2").view(np.uint8)
        words = np.zeros(codes.size // self.group_codes, np.uint64)
        for place in range(self.group_codes):
            words |= codes[place :: self.group_codes].astype(np.uint64) << np.uint64(place * self.width)
        stream = np.empty((words.size, self.group_bytes), np.uint8)
        for byte in range(self.group_bytes):
            stream[:, byte] = (words >> np.uint64(8 * byte)) & np.uint64(0xFF)
        return stream.reshape(-1)

    def _from_bytes(self, stream: Array) -> Codes:
        if self.width == 8:
            return stream.astype(np.uint16)
        words = np.zeros(stream.size // self.group_bytes, np.uint64)
        for byte in range(self.group_bytes):
            words |= stream[byte :: self.group_bytes].astype(np.uint64) << np.uint64(8 * byte)
        codes = np.empty((words.size, self.group_codes), np.uint16)
        for place in range(self.group_codes):
            codes[:, place] = (words >> np.uint64(place * self.width)) & np.uint64(self.escape)
        return codes.reshape(-1)
