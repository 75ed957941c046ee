"""Region features as detectron2's ROIAlignV2 reads them."""

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import initLevelMapper

from lth_deploy.detectors.pooling import merge_levels


class AlignedPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoIAlign whose samples are moved by half a pixel, which torchvision's own pooling cannot do.

    strides: of the feature levels `0`, `1`, ... in powers of two. cells: along the side of a region. sampling_ratio: of
    samples along a side of a cell; 0 for as many as it has pixels.
    """

    def __init__(self, strides: list[int], cells: int, sampling_ratio: int) -> None:
        super().__init__([str(level) for level in range(len(strides))], cells, sampling_ratio)
        self.scales = [1 / stride for stride in strides]
        levels = [stride.bit_length() - 1 for stride in strides]
        self.map_levels = initLevelMapper(levels[0], levels[-1], eps=1e-8)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Features [R, C, cells, cells] of the boxes of all images, from feature maps by name."""
        levels = self.map_levels(boxes)
        regions = torch.cat(
            [torch.cat([torch.full_like(own[:, :1], image), own], dim=1) for image, own in enumerate(boxes)]
        )
        pooled = [
            roi_align(x[name], regions[levels == level], self.output_size, scale, self.sampling_ratio, aligned=True)
            for level, (name, scale) in enumerate(zip(self.featmap_names, self.scales, strict=True))
        ]
        return merge_levels(levels, pooled)
