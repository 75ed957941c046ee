"""Pictures of the formats that are read, and others: damaged bytes, sizes, EXIF entries and chunks."""

import struct
import zlib
from functools import cache
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.mutate_bytes import damaged

READ = ("JPEG", "PNG", "BMP", "WEBP")
OTHERS = ("GIF", "TIFF", "PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "JPEG2000", "PDF", "EPS", "MSP", "IM", "BLP")
SUFFIXES = (".jpg", ".png", ".bmp", ".webp", ".JPG", ".jpeg", ".gif", "", ".txt", ".onnx")
_SIZES = (0, 1, 5, 40, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_ORIENTATION, _MAKE, _WIDTH = 0x0112, 0x010F, 0x0100


@cache
def picture(kind: str, mode: str = "RGB") -> bytes:
    """A small image, or b"" where Pillow cannot write it."""
    pixels = np.random.default_rng(5).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    file = BytesIO()
    try:
        Image.fromarray(pixels).convert(mode).save(file, kind)
    except (OSError, KeyError, ValueError):
        return b""
    return file.getvalue()


def damaged_picture(random: Random) -> bytes:
    """One image, damaged in one of several ways."""
    kind = random.randrange(8)
    if kind == 0:
        return _exif(random)
    if kind == 1:
        return _png_chunks(random)
    if kind == 2:
        return picture(random.choice(OTHERS)) or picture("TIFF")
    if kind == 3:
        return _sizes(random)
    data = picture(random.choice(READ), random.choice(("RGB", "RGB", "L", "P", "1", "RGBA", "CMYK", "I;16", "F", "LA")))
    if kind == 4 or not data:
        return data or picture("PNG")
    return damaged(data, random)


def _exif(random: Random) -> bytes:
    """An orientation of another number or type, or a block of bytes that is no EXIF."""
    exif = Image.Exif()
    values: list[Any] = [0, 1, 6, 8, 9, 255, 65535, "6", "rotated", b"\0\6", (1, 2), 3.5, -1]
    for tag in random.sample((_ORIENTATION, _ORIENTATION, _MAKE, _WIDTH), 2):
        exif[tag] = random.choice(values)
    try:
        block = exif.tobytes()
    except Exception:  # Pillow refuses some of the types in ways of its own
        block = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0" + b"6\0\0\0\0\0\0\0"
    if random.random() < 0.4:
        block = damaged(block, random)
    file = BytesIO()
    Image.open(BytesIO(picture("PNG"))).save(file, random.choice(("JPEG", "PNG", "WEBP")), exif=block[:65000])
    return file.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_chunks(random: Random) -> bytes:
    """A PNG whose checksums fit: sizes that the pixels do not have, and chunks that unpack to much."""
    width, height = random.choice((random.choice(_SIZES), 40)), random.choice((random.choice(_SIZES), 30))
    depth, color = random.choice((1, 2, 4, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 7))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, random.choice((0, 0, 1, 2)))
    bomb = zlib.compress(b"\0" * random.choice((4000, 200_000, 50_000_000)), 9)
    extra = random.choice(
        (
            b"",
            _chunk(b"zTXt", b"a\0\0" + bomb),
            _chunk(b"iCCP", b"a\0\0" + bomb),
            _chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
            _chunk(b"tEXt", b"x" * 2_000_000),
            _chunk(b"PLTE", b"\0" * random.choice((3, 768, 1000))),
            _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + _chunk(b"fcTL", b"\0" * 26),
            _chunk(b"eXIf", random.randbytes(30)),
        )
    )
    pixels = _chunk(b"IDAT", bomb)
    end = _chunk(b"IEND", b"") if random.random() < 0.8 else b""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + pixels + end


def _sizes(random: Random) -> bytes:
    """Another width or height in the header of a JPEG, BMP or WebP."""
    kind = random.choice(("JPEG", "BMP", "WEBP", "GIF", "TGA"))
    data = bytearray(picture(kind))
    at = {"JPEG": max(data.find(b"\xff\xc0") + 5, 0), "BMP": 18, "WEBP": 26, "GIF": 6, "TGA": 12}[kind]
    number = random.choice(_SIZES)
    width = 4 if kind == "BMP" else 2
    order = "big" if kind == "JPEG" else "little"
    data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    if random.random() < 0.5:
        data[at + width : at + 2 * width] = data[at : at + width]
    return bytes(data)
