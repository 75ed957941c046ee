"""Example images of a run as data URIs. They are decoded and written anew, so that only pixels reach the page."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lth_deploy.errors import DataError
from lth_deploy.reporting.drawing.detections import Pixels
from lth_deploy.run.summary import ExampleImage

MOST_IMAGES = 12
_LARGEST_SIDE = 1600


@dataclass(frozen=True)
class EmbeddedImage:
    """An image as a page holds it: title, `data:` address, and its size in pixels."""

    title: str
    uri: str
    width: int
    height: int


def embed_example_images(
    files: Sequence[ExampleImage], directory: Path, read: Callable[[Path], Pixels]
) -> tuple[list[EmbeddedImage], list[str]]:
    """The first images of a run, as `read` decodes them, and one warning for each that cannot be shown."""
    embedded, warnings = [], []
    for file in files[:MOST_IMAGES]:
        try:
            embedded.append(_embed(file, directory, read))
        except (OSError, ValueError, DataError) as error:
            warnings.append(f"The image {file.path} is not shown: {error}.")
    if len(files) > MOST_IMAGES:
        warnings.append(f"{MOST_IMAGES} of {len(files)} images are shown.")
    return embedded, warnings


def _embed(file: ExampleImage, directory: Path, read: Callable[[Path], Pixels]) -> EmbeddedImage:
    path = (directory / file.path).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ValueError("its path leaves the run directory")
    pixels = Image.fromarray(read(path))
    pixels.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    # Photos as PNG would make a page of ten megabytes; full chroma keeps the thin colored boxes crisp.
    pixels.save(buffer, format="JPEG", quality=88, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return EmbeddedImage(file.title or path.stem, uri, pixels.width, pixels.height)
