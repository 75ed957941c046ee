"""Putting predicted instance masks, given on a small grid over their box, back into the image."""

import torch
from torch import Tensor


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample each mask over its box into an image of `size`.

    masks: [N, 1, M, M] probabilities. boxes: [N, 4] as x1, y1, x2, y2 in pixels. size: height, width; plain
    numbers, or scalar tensors while tracing. Returns [N, 1, height, width], zero outside the boxes.

    Bilinear interpolation at pixel centers. Boxes have their sides along the axes, so it separates into one
    matrix per axis: two batched matrix products for all objects at once, where torchvision loops over
    objects and, in an exported graph, copies all earlier masks at every turn.
    """
    cells = masks.shape[-1]
    rows = _interpolation(boxes[:, 1], boxes[:, 3], size[0], cells)
    columns = _interpolation(boxes[:, 0], boxes[:, 2], size[1], cells)
    pasted = torch.matmul(torch.matmul(rows, masks[:, 0].to(rows.dtype)), columns.transpose(1, 2))
    return pasted[:, None]


def _interpolation(low: Tensor, high: Tensor, pixels: int, cells: int) -> Tensor:
    """Weights [N, pixels, cells] that read a pixel of the image from the cells of a mask along one axis."""
    center = torch.arange(pixels, device=low.device) + 0.5
    # A box thinner than a pixel is read as if it were one pixel wide.
    extent = (high - low).clamp(min=1.0)
    position = (center[None] - low[:, None]) / extent[:, None] * cells - 0.5
    cell = torch.arange(cells, device=low.device)
    return (1 - (position[:, :, None] - cell).abs()).clamp(min=0)
