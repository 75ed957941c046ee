"""Images at another size, by the methods with which detectors were trained."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL import __version__ as _version

Pixels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_PILLOW = int(_version.split(".")[0])


def bilinear(image: Pixels, height: int, width: int) -> Pixels:
    """Resize without antialiasing, with half-pixel centers: as OpenCV's INTER_LINEAR, up to rounding."""
    if image.shape[:2] == (height, width):
        return image
    rows = (np.arange(height) + 0.5) * (image.shape[0] / height) - 0.5
    columns = (np.arange(width) + 0.5) * (image.shape[1] / width) - 0.5
    return _sampled(image, rows, columns)


def warped(image: Pixels, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], pad: FloatArray) -> Pixels:
    """Pixels between those of `image`, at the given positions of rows and columns; `pad` [3] lies around it.

    Positions count pixels from the middle of the first one: as OpenCV's warpAffine.
    """
    framed = np.empty((image.shape[0] + 2, image.shape[1] + 2, 3), np.uint8)
    framed[...] = pad.round().astype(np.uint8)
    framed[1:-1, 1:-1] = image
    return _sampled(framed, rows + 1, columns + 1)


def antialiased(image: Pixels, height: int, width: int, method: Image.Resampling) -> Pixels:
    """Resize with Pillow, which averages over all pixels that a smaller image loses."""
    return np.asarray(Image.fromarray(image).resize((width, height), method), np.uint8)


def height_first(own_height: int, own_width: int, height: int, width: int) -> bool:
    """Whether `antialiased` changes the height before the width; between both steps Pillow rounds."""
    fewer_rows, fewer_columns = own_height - height, own_width - width
    if _PILLOW >= 13:
        return fewer_rows > 0 and fewer_rows > 2 * fewer_columns
    return fewer_rows > 0 and own_height > 100 * own_width


def _sampled(image: Pixels, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Pixels:
    upper, down = _between(rows, image.shape[0])
    left, right = _between(columns, image.shape[1])
    lower, beside = np.minimum(upper + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    above = image[upper].astype(np.float32)
    lines = above + (image[lower].astype(np.float32) - above) * down[:, None, None]
    before = lines[:, left]
    found = before + (lines[:, beside] - before) * right[None, :, None]
    return np.asarray(np.rint(found), np.uint8)


def _between(positions: npt.NDArray[np.float64], size: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """The pixel before each position, and how far behind it the position lies."""
    inside = np.clip(positions, 0, size - 1)
    first = np.floor(inside).astype(np.intp)
    return first, (inside - first).astype(np.float32)
