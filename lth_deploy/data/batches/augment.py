"""Augmentation of one sample: mirrors, zoom and light, each drawn for one image in one epoch."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from lth_deploy.config.training_spec import AugmentSpec
from lth_deploy.data.batches.image_rng import Draws
from lth_deploy.data.batches.samples import SMALLEST_SIDE, Sample


def moved(sample: Sample, flip: float, spec: AugmentSpec, draws: Draws, mirrored_keypoints: list[int]) -> Sample:
    """`sample` mirrored and zoomed as drawn; `flip` is the chance of exchanging left and right."""
    if draws.uniform("flip") < flip:
        sample = sample.flipped(mirrored_keypoints)
    if draws.uniform("vertical_flip") < spec.vertical_flip:
        sample = sample.flipped(mirrored_keypoints, vertically=True)
    low, high = spec.zoom
    if low == high == 1.0:
        return sample
    # Evenly spread in octaves: half as large is as likely as twice as large.
    scale = math.exp(draws.uniform("zoom", math.log(low), math.log(high)))
    height, width = sample.image.shape[-2:]
    columns, rows = max(1, round(width / scale)), max(1, round(height / scale))
    left = round((width - columns) * draws.uniform("zoom_x"))
    top = round((height - rows) * draws.uniform("zoom_y"))
    return through_window(sample, (left, top, columns, rows), spec.min_visible)


def lit(image: Tensor, spec: AugmentSpec, draws: Draws) -> Tensor:
    """float32 [3, H, W] in 0..1 with contrast (about the mean gray) and brightness changed as drawn."""
    if spec.contrast:
        factor = draws.uniform("contrast", 1 - spec.contrast, 1 + spec.contrast)
        image = image.lerp(image.mean(), 1 - factor)
    if spec.brightness:
        image = image * draws.uniform("brightness", 1 - spec.brightness, 1 + spec.brightness)
    return image.clamp(0, 1)


def through_window(sample: Sample, window: tuple[int, int, int, int], min_visible: float) -> Sample:
    """What `window` (left, top, width, height; it may reach beyond the image) shows, at the image's own size.

    Beyond the image there is its mean color. Boxes are cut at the border; objects that keep less than
    `min_visible` of their box, or less than a pixel, are left out. Keypoints outside become 'not labeled'.
    """
    left, top, columns, rows = window
    height, width = sample.image.shape[-2:]
    scale = torch.tensor([width / columns, height / rows])
    offset = torch.tensor([left, top], dtype=torch.float32)
    boxes = (sample.boxes - offset.repeat(2)) * scale.repeat(2)
    border = torch.tensor([width, height, width, height], dtype=torch.float32)
    cut = torch.minimum(boxes.clamp(min=0), border)
    sides = cut[:, 2:] - cut[:, :2]
    share = sides.prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
    keep = (sides >= SMALLEST_SIDE).all(1) & (share >= min_visible)
    image = sample.image.float()
    shown = _resized(_window(image - image.mean((1, 2), keepdim=True), window), (height, width), "bilinear")
    shown += image.mean((1, 2), keepdim=True)
    masks, keypoints = sample.masks, sample.keypoints
    if masks is not None:
        masks = _resized(_window(masks[keep], window), (height, width), "nearest-exact")
    if keypoints is not None:
        keypoints = _shifted(keypoints[keep], offset, scale, (width, height))
    return replace(
        sample,
        image=shown.round().clamp(0, 255).to(torch.uint8),
        boxes=cut[keep],
        labels=sample.labels[keep],
        masks=masks,
        keypoints=keypoints,
    )


def _window(planes: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """[N, H, W] cut to the window; zeros where that reaches beyond."""
    left, top, columns, rows = window
    height, width = planes.shape[-2:]
    # Negative padding cuts.
    return functional.pad(planes, (-left, left + columns - width, -top, top + rows - height))


def _resized(planes: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if not len(planes):
        return planes.new_zeros((0, *size))
    # Plain bilinear, as the detector's own transform: see `samples.shrink`.
    corners = False if mode == "bilinear" else None
    return functional.interpolate(planes[None], size=size, mode=mode, align_corners=corners)[0]


def _shifted(keypoints: Tensor, offset: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    points = (keypoints[..., :2] - offset) * scale
    inside = ((points >= 0) & (points <= torch.tensor(size))).all(-1) & (keypoints[..., 2] > 0)
    return torch.cat([points, keypoints[..., 2:]], -1) * inside[..., None]
