"""Image files: found, measured, decoded."""

from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lth_deploy.data.findings import FaultError
from lth_deploy.errors import DataError

LARGEST_SIDE = 32768
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
LARGEST_AREA = 100_000_000
"""Pixels; 300 MB when decoded."""

_EXIF_ORIENTATION = 0x0112


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """RGB pixels, uint8 [height, width, 3], as stored: EXIF rotation is not applied, as COCO does.

    Raises:
        DataError: missing, damaged, not an image, of absurd size, or with more than 8 bits a channel.
    """
    try:
        return decode(path)
    except FaultError as fault:
        raise DataError(f"{path}: {fault}; repair or remove the file") from fault


def image_files(folder: Path) -> list[Path]:
    """The image files in `folder` by name, not those in folders below it.

    Raises:
        DataError: no such folder, or it holds no images.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} is no folder with images ({', '.join(SUFFIXES)}); name one that has some")
    return files


def decode(path: Path) -> npt.NDArray[np.uint8]:
    """As `read_image`.

    Raises:
        FaultError: see `read_image`.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_AREA:
                raise FaultError(f"{image.width}x{image.height} pixels, refused as a decompression bomb")
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise FaultError(f"pixels of mode '{image.mode}'; 8 bits a channel are needed")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise FaultError("no such image file") from error
    except UnidentifiedImageError as error:
        raise FaultError("not an image, or cut off in its header") from error
    except Image.DecompressionBombError as error:
        raise FaultError("so many pixels that it is refused as a decompression bomb") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        if isinstance(error, FaultError):
            raise
        raise FaultError(f"damaged image: {error}") from error


def check_pixels(path: Path, width: int, height: int) -> None:
    """Decode the whole file and compare its size with what the annotations say.

    Raises:
        FaultError: it does not decode, or has another size.
    """
    found = decode(path).shape[1::-1]
    if found == (width, height):
        return
    hint = ""
    if found == (height, width) and _is_rotated(path):
        hint = "; the file has an EXIF rotation: store its pixels upright, or annotate them as stored"
    raise FaultError(f"the file is {found[0]}x{found[1]} pixels, the annotations say {width}x{height}{hint}")


def locate(folder: Path, file_name: str) -> Path:
    """Path of `file_name`, which may lie in sub-folders of `folder` but not outside.

    Raises:
        FaultError: the name is empty, absolute, or climbs out of the folder.
    """
    parts = PurePosixPath(file_name.replace("\\", "/"))
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\0" in file_name:
        raise FaultError(f"file_name {file_name!r} must name a file inside the image folder")
    return folder / file_name


def _is_rotated(path: Path) -> bool:
    with Image.open(path) as image:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1)) != 1
