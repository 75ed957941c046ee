"""Pictures of a run as data URIs. They are decoded and written anew, so that only pixels reach the page."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lth_deploy.errors import DataError
from lth_deploy.reporting.drawing.detections import Picture
from lth_deploy.run.summary import ExampleImage

MOST_PICTURES = 12
_LARGEST_SIDE = 1600


@dataclass(frozen=True)
class Shot:
    """One image: title, `data:` address, and its size in pixels."""

    title: str
    uri: str
    width: int
    height: int


def load_shots(
    pictures: Sequence[ExampleImage], directory: Path, read: Callable[[Path], Picture]
) -> tuple[list[Shot], list[str]]:
    """The first images of a run, as `read` decodes them, and one warning for each that cannot be shown."""
    shots, warnings = [], []
    for picture in pictures[:MOST_PICTURES]:
        try:
            shots.append(_shot(picture, directory, read))
        except (OSError, ValueError, DataError) as error:
            warnings.append(f"The image {picture.path} is not shown: {error}.")
    if len(pictures) > MOST_PICTURES:
        warnings.append(f"{MOST_PICTURES} of {len(pictures)} images are shown.")
    return shots, warnings


def _shot(picture: ExampleImage, directory: Path, read: Callable[[Path], Picture]) -> Shot:
    path = (directory / picture.path).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ValueError("its path leaves the run directory")
    pixels = Image.fromarray(read(path))
    pixels.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    # Photos as PNG would make a page of ten megabytes; full chroma keeps the thin colored boxes crisp.
    pixels.save(buffer, format="JPEG", quality=88, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Shot(picture.title or path.stem, uri, pixels.width, pixels.height)
