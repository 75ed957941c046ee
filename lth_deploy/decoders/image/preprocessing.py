"""From an image to the values that a detector was trained on, and its boxes back to the image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lth_deploy.errors import ArtifactError
from lth_deploy.resampling import FloatArray, Pixels, antialiased, bilinear, warped

Triple = tuple[float, float, float]
Fit = Literal["letterbox-center", "letterbox-corner", "stretch", "as-is"]
MAX_SIDE = 16384
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Positive = Annotated[float, Field(gt=0)]


class Preprocessing(BaseModel):
    """How an image becomes the input of a model.

    fit: `letterbox` keeps the aspect and puts the image in the center or the top left corner, `stretch` does not;
    `as-is` leaves the image alone, for graphs that resize it themselves.
    pad: color around it, RGB 0..255. longest: most pixels of its sides, where that is less than the input has.
    rounding: of its size. resample: `bilinear` as OpenCV, or with antialiasing as Pillow.
    grid: `half-pixel` where position 0 is the edge of the first pixel, `integer` where it is its middle.
    color: order of the channels. scale, mean, std: (pixel x scale - mean) / std, in the order of the channels.
    size: height and width of the input where the graph leaves them open.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fit: Fit = "letterbox-center"
    pad: Triple = (114.0, 114.0, 114.0)
    longest: Side | None = None
    rounding: Literal["nearest", "down"] = "nearest"
    resample: Literal["bilinear", "bilinear-antialiased", "bicubic-antialiased"] = "bilinear"
    grid: Literal["half-pixel", "integer"] = "half-pixel"
    color: Literal["rgb", "bgr"] = "rgb"
    scale: Positive = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    size: tuple[Side, Side] | None = None

    def __str__(self) -> str:
        words = [
            self.fit if self.fit in ("stretch", "as-is") else f"{self.fit}, pad {_numbers(self.pad)}",
            self.color.upper(),
        ]
        words += [f"x {self.scale:.6g}"] if self.scale != 1 else ["0..255"]
        words += [f"mean {_numbers(self.mean)}"] if any(self.mean) else []
        words += [f"std {_numbers(self.std)}"] if self.std != (1.0, 1.0, 1.0) else []
        return ", ".join(words)

    @property
    def keeps_values(self) -> bool:
        """Whether the model takes the pixels as they are."""
        return (self.scale, self.mean, self.std) == (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Preprocessing":
        """What `model_dump` wrote into the metadata of a file that may come from anyone.

        Raises:
            ArtifactError: it says something else.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise ArtifactError(f"metadata 'preprocessing': {place}: {fault['msg']}; export again") from error


@dataclass(frozen=True)
class Placement:
    """How an image of `width` x `height` lies in the input: scaled, then moved by `left` and `top`.

    input_width, input_height: of the whole input, pixels.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float
    width: int
    height: int
    input_width: int
    input_height: int

    def to_image(self, boxes: FloatArray) -> FloatArray:
        """Boxes [N, 4] in pixels of the input as boxes in pixels of the image, clipped to it."""
        moved = boxes.astype(np.float64) - np.array([self.left, self.top] * 2)
        moved /= np.array([self.scale_x, self.scale_y] * 2)
        return np.asarray(np.clip(moved, 0, np.array([self.width, self.height] * 2)), np.float32)


def fitted(
    own_height: int, own_width: int, height: int, width: int, how: Preprocessing
) -> tuple[tuple[int, int], Placement]:
    """Height and width of an image of this size once it is resized, and where it lies on a canvas."""
    if how.fit == "as-is":
        return (own_height, own_width), Placement(1, 1, 0, 0, own_width, own_height, own_width, own_height)
    if how.grid == "integer":
        ratio = min(height / own_height, width / own_width)
        left, top = width / 2 - ratio * own_width / 2, height / 2 - ratio * own_height / 2
        return (height, width), Placement(ratio, ratio, left, top, own_width, own_height, width, height)
    if how.fit == "stretch":
        scales = width / own_width, height / own_height
        return (height, width), Placement(*scales, 0, 0, own_width, own_height, width, height)
    most = how.longest or MAX_SIDE
    ratio = min(min(height, most) / own_height, min(width, most) / own_width)
    rounded = round if how.rounding == "nearest" else int
    new_width, new_height = max(1, rounded(own_width * ratio)), max(1, rounded(own_height * ratio))
    left = (width - new_width) // 2 if how.fit == "letterbox-center" else 0
    top = (height - new_height) // 2 if how.fit == "letterbox-center" else 0
    scale_x, scale_y = new_width / own_width, new_height / own_height
    return (new_height, new_width), Placement(scale_x, scale_y, left, top, own_width, own_height, width, height)


def placed(image: Pixels, height: int, width: int, how: Preprocessing) -> tuple[Pixels, Placement]:
    """The RGB image on a canvas of `height` x `width`, and where it lies there."""
    own_height, own_width = image.shape[:2]
    (new_height, new_width), where = fitted(own_height, own_width, height, width, how)
    if how.fit == "as-is":
        return image, where
    if how.grid == "integer":
        return _affine(image, where, how), where
    if how.fit == "stretch":
        return _resized(image, new_height, new_width, how), where
    top, left = int(where.top), int(where.left)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[...] = pad_bytes(how)
    canvas[top : top + new_height, left : left + new_width] = _resized(image, new_height, new_width, how)
    return canvas, where


def pad_bytes(how: Preprocessing) -> Pixels:
    """The color around the image, as RGB pixels have it."""
    return np.array(how.pad).round().astype(np.uint8)


def normalized(canvas: Pixels, how: Preprocessing, dtype: "npt.DTypeLike" = np.float32) -> "npt.NDArray[Any]":
    """The canvas [H, W, 3] as planes [3, H, W] of the values that the model takes."""
    planes = np.ascontiguousarray(canvas.transpose(2, 0, 1)[:: 1 if how.color == "rgb" else -1])
    if how.keeps_values:
        return planes.astype(dtype, copy=False)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (how.mean, how.std))
    values = planes.astype(np.float32)
    values *= np.float32(how.scale)
    values -= mean
    values /= std
    return values.astype(dtype, copy=False)


def _resized(image: Pixels, height: int, width: int, how: Preprocessing) -> Pixels:
    if how.resample == "bilinear":
        return bilinear(image, height, width)
    method = Image.Resampling.BICUBIC if how.resample == "bicubic-antialiased" else Image.Resampling.BILINEAR
    return antialiased(image, height, width, method)


def _affine(image: Pixels, where: Placement, how: Preprocessing) -> Pixels:
    """The middle of the image comes to that of the canvas; both are counted from the middle of the first pixel."""
    rows = (np.arange(where.input_height) - where.top) / where.scale_y
    columns = (np.arange(where.input_width) - where.left) / where.scale_x
    rows, columns = np.clip(rows, -1, where.height), np.clip(columns, -1, where.width)
    return warped(image, rows, columns, np.array(how.pad, np.float32))


def _numbers(values: Triple) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)
