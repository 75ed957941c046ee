"""Image files: measured and decoded. Every image that the package reads passes here, so that all see the same pixels.

One rule for EXIF orientation: it is applied, always. Boxes lie on the upright image, as annotation tools, browsers and
OpenCV show it. docs/data.md says why, and what happens to annotations of the pixels as stored.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from lth_deploy.data.exif import AS_STORED, read_orientation, swaps_sides, upright
from lth_deploy.data.json_values import FaultError, printable
from lth_deploy.data.records import ImageRecord
from lth_deploy.errors import DataError

# Named here, so that Pillow does not load its forty others to look for them.
_READERS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    BmpImagePlugin.BmpImageFile,
    WebPImagePlugin.WebPImageFile,
)
FORMATS = tuple(reader.format for reader in _READERS)
"""Found out from the first bytes of a file; its name counts for nothing."""

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
LARGEST_SIDE = 32768
LARGEST_AREA = 1 << 26
"""Pixels, as many as 8192 x 8192 have: 200 MB as bytes, 800 MB as floats, and a detector's graph has several copies."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded; sizes are (width, height) in pixels.

    stored: without regard to the orientation. orientation: 1..8; None, which counts as 1, where the block is damaged.
    """

    stored: tuple[int, int]
    orientation: int | None

    @property
    def size(self) -> tuple[int, int]:
        """Of the upright image."""
        width, height = self.stored
        return (height, width) if swaps_sides(self.orientation or AS_STORED) else (width, height)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """RGB pixels of the upright image, uint8 [height, width, 3]: EXIF orientation is applied, transparency is dropped.

    Raises:
        DataError: missing, damaged, of another format than `FORMATS`, too large, animated, or gray with 16 bits.
    """
    try:
        return decode(path)[0]
    except FaultError as fault:
        raise DataError(f"{printable(path)}: {fault}") from fault


def read_record(record: ImageRecord) -> npt.NDArray[np.uint8]:
    """As `read_image`, of an image that has annotations.

    Raises:
        DataError: see `read_image`; or the image has another size than its annotations say.
    """
    try:
        pixels, header = decode(record.path)
        check_size(header, record)
    except FaultError as fault:
        raise DataError(f"{printable(record.path)}: image {record.id}: {fault}") from fault
    return pixels


def read_header(path: Path) -> Header:
    """Size and orientation, without decoding.

    Raises:
        FaultError: as `decode`, except for damage further behind.
    """
    with _faults(), _opened(path) as image:
        return _header(image)


def decode(path: Path) -> tuple[npt.NDArray[np.uint8], Header]:
    """Pixels as of `read_image`, and the header.

    Raises:
        FaultError: see `read_image`.
    """
    with _faults(), _opened(path) as image:
        image.load()
        # A PNG may have its EXIF block behind the pixels.
        header = _header(image)
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
    return upright(pixels, header.orientation or AS_STORED), header


def check_size(header: Header, record: ImageRecord) -> None:
    """Compare the size of the upright image with what the annotations say.

    Raises:
        FaultError: they differ; where the annotations have the size of the pixels as stored, the message says so.
    """
    if header.size == (record.width, record.height):
        return
    said, found = f"{record.width}x{record.height}", "{}x{}".format(*header.size)
    if header.stored == (record.width, record.height):
        raise FaultError(
            f"the annotations say {said}, the size of the pixels as stored, but EXIF orientation {header.orientation} "
            f"turns the image to {found}; if the boxes lie on the image as stored, remove the orientation from the "
            "file; if they lie on the upright image, correct width and height in the annotations"
        )
    raise FaultError(f"the image is {found} pixels, the annotations say {said}; correct the annotations or the file")


def image_files(folder: Path) -> list[Path]:
    """The image files in `folder` by name, not those in folders below it.

    Raises:
        DataError: no such folder, or it holds no images.
    """
    files = [file for file in folder.iterdir() if is_image_name(file) and file.is_file()] if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} is no folder with images ({', '.join(SUFFIXES)}); name one that has some")
    return sorted(files)


def is_image_name(file: Path) -> bool:
    """Whether the name ends as those of images do, in any case; hidden files, which macOS adds, do not count."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header was read and can be decoded to RGB.

    Raises:
        FaultError: no such file, or pixels that are refused.
    """
    try:
        # A device or a pipe would be waited for.
        found = path.is_file()
    except OSError as error:
        raise FaultError(f"no such image file: {error.strerror}") from error
    if not found:
        raise FaultError("no such image file")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > LARGEST_AREA:
            raise FaultError(_too_large(image.width * image.height, f" ({image.width}x{image.height})"))
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            raise FaultError(
                f"gray pixels of mode '{image.mode}', whose range is unknown; scale them to 8 bits a channel"
            )
        if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
            raise FaultError("an animation; store the frame that is annotated as an image of its own")
        yield image


@contextmanager
def _faults() -> Iterator[None]:
    """Whatever Pillow makes of a damaged file, as a `FaultError`."""
    try:
        yield
    except FaultError:
        raise
    except UnidentifiedImageError as error:
        raise FaultError(
            f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, or cut off in its header; convert or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        found = re.search(r"\d{6,}", str(error))
        raise FaultError(_too_large(int(found[0]) if found else None)) from error
    except MemoryError as error:
        raise FaultError("too little memory to decode the image; scale it down") from error
    except OSError as error:
        raise FaultError(f"damaged image: {error.strerror or error}; repair or remove it") from error
    except Exception as error:
        # The decoders of damaged files also raise SyntaxError, struct.error, zlib.error, IndexError and others.
        raise FaultError(f"damaged image: {type(error).__name__}: {error}; repair or remove it") from error


def _too_large(pixels: int | None, size: str = "") -> str:
    count = f"{pixels:,}" if pixels is not None else "too many"
    return f"{count} pixels{size}; at most {LARGEST_AREA:,} (8192x8192) are decoded; scale the image down"


def _header(image: Image.Image) -> Header:
    exif = image.info.get("exif")
    return Header(image.size, read_orientation(exif) if isinstance(exif, bytes) else AS_STORED)
