"""Anchors as detectron2 lays them: at multiples of the stride, not rounded, sizes before ratios."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class StrideAnchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's generator takes strides from quotients of sizes and rounds the anchors, which moves them.

    sizes, ratios: for each feature level. strides: of the levels, in pixels. offset: of the first center, as a share of
    the stride.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
        offset: float,
    ) -> None:
        super().__init__(tuple(tuple(one) for one in sizes), tuple(tuple(one) for one in ratios))
        self.strides = tuple(strides)
        pairs = zip(sizes, ratios, strides, strict=True)
        self.cell_anchors = [self.generate_anchors(*level[:2]) + offset * level[2] for level in pairs]

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Boxes [len(scales) * len(aspect_ratios), 4] around the origin; a ratio is height over width."""
        rows = []
        for size in scales:
            for ratio in aspect_ratios:
                width = (size**2 / ratio) ** 0.5
                height = ratio * width
                rows.append([-width / 2, -height / 2, width / 2, height / 2])
        return torch.tensor(rows, dtype=dtype, device=device)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors of each image [A, 4], finest level first."""
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        grids = [feature.shape[-2:] for feature in feature_maps]
        strides = [[torch.tensor(stride, device=first.device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors(grids, strides))
        return [anchors for _ in image_list.image_sizes]
