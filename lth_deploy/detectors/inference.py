"""Running a detector on images in torch."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lth_deploy.detections import Detections

Image = npt.NDArray[np.uint8]


def to_input(image: Tensor) -> Tensor:
    """An image, uint8 [H, W, 3] RGB, as the detectors take it: float32 [3, H, W] in 0..1."""
    return image.permute(2, 0, 1).to(torch.float32) / 255


def predict(
    model: nn.Module, images: Sequence[Image], device: torch.device | str = "cpu", batch_size: int = 1
) -> list[Detections]:
    """Detections of each image, uint8 [H, W, 3] RGB, in pixels of that image.

    `model` must be on `device`; its training mode is restored. Only neighbors of equal size share a batch:
    otherwise one image's result would depend on the padding that the others cause.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # Not inference_mode: anchors that torchvision caches in it could not serve in training afterwards.
        with torch.no_grad():
            return [
                _to_detections(found)
                for batch in _equal_sizes(images, batch_size)
                for found in model([to_input(torch.from_numpy(image).to(device)) for image in batch])
            ]
    finally:
        for module, mode in training.items():
            module.training = mode


def keypoints_with_scores(found: dict[str, Tensor]) -> Tensor:
    """Keypoints [N, K, 3] as x, y, score from torchvision's output, whose third column is always 1.

    The score is the height of the point's heat map, a logit without bounds.
    """
    return torch.cat([found["keypoints"][..., :2], found["keypoints_scores"][..., None]], dim=-1)


def _equal_sizes(images: Sequence[Image], batch_size: int) -> Iterator[list[Image]]:
    batch: list[Image] = []
    for image in images:
        if batch and (len(batch) == batch_size or image.shape != batch[0].shape):
            yield batch
            batch = []
        # torch takes no negative strides and warns about read-only memory; views of decoders have both.
        batch.append(np.require(image, np.uint8, ["C", "W"]))
    if batch:
        yield batch


def _to_detections(found: dict[str, Tensor]) -> Detections:
    arrays = {name: value.cpu() for name, value in found.items()}
    return Detections(
        boxes=arrays["boxes"].float().numpy(),
        scores=arrays["scores"].float().numpy(),
        labels=arrays["labels"].numpy(),
        masks=arrays["masks"][:, 0].float().numpy() if "masks" in arrays else None,
        keypoints=keypoints_with_scores(arrays).float().numpy() if "keypoints" in arrays else None,
    )
