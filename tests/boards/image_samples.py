"""Image files, and requests that read them, as the tests of the consumer use them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lth_deploy.boards.image_files import ImageFile
from lth_deploy.boards.link import Link


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Smooth parts with noise on them, as photos have."""
    generator = np.random.default_rng(height)
    coarse = Image.fromarray(generator.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return np.clip(smooth + generator.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def asked(link: Link, slot: str, file: ImageFile, path: Path) -> None:
    words = file.words(slot, str(path.parent))
    words[2] = str(path)
    reply, _ = link.ask(words, seconds=300)
    assert min(reply["read_ms"], reply["prepare_ms"]) >= 0


def png(pixels: bytes, width: int, height: int, *, depth: int = 8, color: int = 2, before: bytes = b"") -> bytes:
    """Lines of pixels without filters."""
    length = len(pixels) // height
    lines = b"".join(b"\0" + pixels[start : start + length] for start in range(0, len(pixels), length))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
