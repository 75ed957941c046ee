"""Resizing and normalizing on the way in, scaling boxes and masks on the way out."""

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from lth_deploy.detectors.paste import paste_masks

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Target = dict[str, Tensor]


class DetectorTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform without its waste: no resampling at scale 1, no loop over masks."""

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        """Resize unless the image [C, H, W] already has the size that it is to get."""
        # A traced graph must take every size, so there the resize stays.
        if torch._C._get_tracing_state() is None and self._fits(image.shape[-2], image.shape[-1]):
            return image, target
        resized: tuple[Tensor, Target | None] = super().resize(image, target)
        return resized

    def postprocess(
        self, result: list[Target], image_shapes: Any, original_image_sizes: list[tuple[int, int]]
    ) -> list[Target]:
        """Scale detections to the original images and paste masks there: [N, 1, H, W]."""
        if self.training:
            return result
        masks = [prediction.pop("masks", None) for prediction in result]
        scaled: list[Target] = super().postprocess(result, image_shapes, original_image_sizes)
        for prediction, mask, size in zip(scaled, masks, original_image_sizes, strict=True):
            if mask is not None:
                prediction["masks"] = paste_masks(mask, prediction["boxes"], size)
        return scaled

    def _fits(self, height: int, width: int) -> bool:
        if self.fixed_size is not None:
            return bool(self.fixed_size == (width, height))
        short, long = min(height, width), max(height, width)
        return bool(min(self.min_size[-1] / short, self.max_size / long) == 1.0)


def fit_transform(min_size: int, max_size: int) -> DetectorTransform:
    """Shorter side to `min_size` unless the longer one would pass `max_size`; padding to multiples of 32."""
    return DetectorTransform(min_size, max_size, list(IMAGENET_MEAN), list(IMAGENET_STD))
