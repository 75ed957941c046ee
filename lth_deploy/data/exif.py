"""EXIF orientation: read from the bytes of the EXIF block, applied to pixels.

The block is parsed here and not with Pillow: only one number of it is wanted, and a damaged block must cost neither
memory nor warnings.
"""

import struct

import numpy as np
import numpy.typing as npt

AS_STORED = 1
_TAG = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_MARK = b"Exif\0\0"
# EXIF types of whole numbers: code and struct format. The standard asks for SHORT; some writers use the others.
_WHOLE = {1: "B", 3: "H", 4: "I"}


def read_orientation(exif: bytes) -> int | None:
    """Orientation 1..8 of an EXIF block (CIPA DC-008, tag 0x0112); 1 without the tag, None where it is damaged."""
    block = exif.removeprefix(_MARK)
    if not block:
        return AS_STORED
    order = _BYTE_ORDERS.get(block[:2])
    if order is None:
        return None
    try:
        magic, start = struct.unpack_from(order + "HI", block, 2)
        if magic != 42:
            return None
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, entry)
            if tag == _TAG:
                found = struct.unpack_from(order + _WHOLE[kind], block, entry + 8)[0] if kind in _WHOLE else 0
                return int(found) if values >= 1 and 1 <= found <= 8 else None
    except struct.error:
        return None
    return AS_STORED


def swaps_sides(orientation: int) -> bool:
    """Whether width and height change places."""
    return orientation >= 5


def upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels [H, W, 3] as they are to be seen; a view where nothing moves, else contiguous."""
    if orientation == AS_STORED:
        return pixels
    turned = pixels.transpose(1, 0, 2) if swaps_sides(orientation) else pixels
    rows, columns = _MIRRORED[orientation]
    return np.ascontiguousarray(turned[:: -1 if rows else 1, :: -1 if columns else 1])


# After the exchange of rows and columns (from 5 on): are rows, are columns counted from the other end?
_MIRRORED = {
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
