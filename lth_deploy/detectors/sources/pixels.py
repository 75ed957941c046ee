"""Images and boxes on their way into a detector that takes one size, and back.

Pixels are those that the decoders of exported files make of the same image, so that both see the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lth_deploy.resampling import antialiased, bilinear

Target = dict[str, Tensor]


@dataclass(frozen=True)
class InputForm:
    """How an image becomes the input of a detector.

    size: height and width. fit: `stretch`, or `letterbox-corner`, which keeps the aspect and fills the rest with gray
    114. mean, std: (pixel x scale - mean) / std with pixels of 0 to 255, in the order of `color`. antialiased: whether
    a smaller image shows the mean of all pixels that it loses.
    """

    size: tuple[int, int]
    fit: Literal["stretch", "letterbox-corner"] = "stretch"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    color: Literal["rgb", "bgr"] = "rgb"
    antialiased: bool = True

    def recorded(self) -> Mapping[str, Any]:
        """The same in the words of an artifact's metadata."""
        resample = "bilinear-antialiased" if self.antialiased else "bilinear"
        found: dict[str, Any] = {"fit": self.fit, "resample": resample, "scale": self.scale}
        found |= {"mean": list(self.mean), "std": list(self.std), "color": self.color, "size": list(self.size)}
        return found | ({"rounding": "down"} if self.fit == "letterbox-corner" else {})

    def batch(self, images: Sequence[Tensor]) -> tuple[Tensor, list["Placed"]]:
        """Images float32 [3, H, W] in 0..1 as one batch [N, 3, *size], and where each lies in its input."""
        canvases, places = zip(*(self._placed(image) for image in images), strict=True)
        planes = torch.stack(canvases).to(images[0].device)
        if self.color == "bgr":
            planes = planes.flip(1)
        mean, std = (torch.tensor(values, device=planes.device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (planes * self.scale - mean) / std, list(places)

    def _placed(self, image: Tensor) -> tuple[Tensor, "Placed"]:
        height, width = image.shape[-2:]
        if self.fit == "stretch":
            new_height, new_width = self.size
        else:
            ratio = min(self.size[0] / height, self.size[1] / width)
            new_height, new_width = max(1, int(height * ratio)), max(1, int(width * ratio))
        canvas = torch.full((3, *self.size), 114.0)
        canvas[:, :new_height, :new_width] = self._resized(image, new_height, new_width)
        return canvas, Placed(height, width, new_height / height, new_width / width)

    def _resized(self, image: Tensor, height: int, width: int) -> Tensor:
        """Whole pixels of 0 to 255 at another size, float32 [3, height, width] on the CPU."""
        whole = (image.detach() * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        pixels = np.ascontiguousarray(whole.permute(1, 2, 0).numpy())
        if self.antialiased:
            resized = antialiased(pixels, height, width, Image.Resampling.BILINEAR)
        else:
            resized = bilinear(pixels, height, width)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


@dataclass(frozen=True)
class Placed:
    """Height and width of an image, and the factors by which it was scaled into the top left corner of an input."""

    height: int
    width: int
    scale_y: float
    scale_x: float

    def into(self, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] of the image, x1 y1 x2 y2, in pixels of the input."""
        return boxes * boxes.new_tensor([self.scale_x, self.scale_y] * 2)

    def back(self, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] of the input in pixels of the image, clipped to it."""
        found = boxes / boxes.new_tensor([self.scale_x, self.scale_y] * 2)
        most = boxes.new_tensor([self.width, self.height] * 2)
        return torch.minimum(found.clamp(min=0), most)


def center_and_size(boxes: Tensor) -> Tensor:
    """Boxes [N, 4] x1 y1 x2 y2 as center and size."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1)


def corners(boxes: Tensor) -> Tensor:
    """Boxes [N, 4] of center and size as x1 y1 x2 y2."""
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([center - half, center + half], dim=1)
