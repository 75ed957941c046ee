"""A classifier in a detector's clothes: the backbone of the detectors with a fully connected layer on top.

Its backbone has the names that it has in a detector, `backbone.body.` before torchvision's own, and sees images
normalized as a detector's does, so that its tickets fit there as they are.
"""

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms import RandomResizedCrop

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.norms import norm_layer
from lth_deploy.detectors.transform import IMAGENET_MEAN, IMAGENET_STD, Target

MARGIN = 8 / 7
"""Shorter side of an image over the side of its central crop: 256 over 224 (He et al. 2016, section 3.4)."""
ASPECT_RATIOS = (3 / 4, 4 / 3)
ANSWERS = 5


class Features(nn.Module):
    """A residual network up to its pooled features [N, C]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Features of normalized images [N, 3, S, S]."""
        features: Tensor = self.body(images)
        return features


class Classifier(nn.Module):
    """Images to classes, called as the detectors are.

    In training mode (images, targets) become the cross entropy over random crops, whose randomness is torch's
    global generator; a target's first label is the class. In evaluation mode each image becomes its best
    classes, as boxes over the whole image with probabilities and labels.
    """

    def __init__(self, body: nn.Module, classes: int, side: int, crop_scale: float) -> None:
        super().__init__()
        channels = body.get_parameter("fc.weight").shape[1]
        body.fc = nn.Identity()
        self.backbone = Features(body)
        self.fc = nn.Linear(channels, classes)
        self.side, self.crop_scale = side, crop_scale

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> dict[str, Tensor] | list[Target]:
        """Losses, or the best classes of each image."""
        if self.training and targets is not None:
            crops = torch.stack([self._random_crop(image) for image in images])
            labels = torch.stack([target["labels"][0] - 1 for target in targets])
            return {"classification": nn.functional.cross_entropy(self.logits(crops), labels)}
        return [self._answer(image) for image in images]

    def logits(self, images: Tensor) -> Tensor:
        """Scores [N, classes] of images [N, 3, S, S] in 0..1."""
        mean, std = (torch.tensor(values).to(images)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        answer: Tensor = self.fc(self.backbone((images - mean) / std))
        return answer

    def _answer(self, image: Tensor) -> Target:
        height, width = image.shape[-2:]
        probabilities = self.logits(self._central_crop(image)[None])[0].softmax(0)
        scores, best = probabilities.topk(min(ANSWERS, len(probabilities)))
        box = torch.tensor([0.0, 0.0, width, height], device=image.device)
        return {"boxes": box.repeat(len(best), 1), "scores": scores, "labels": best + 1}

    def _random_crop(self, image: Tensor) -> Tensor:
        top, left, height, width = RandomResizedCrop.get_params(image, [self.crop_scale, 1.0], list(ASPECT_RATIOS))
        return _resized(image[:, top : top + height, left : left + width], (self.side, self.side))

    def _central_crop(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        factor = self.side * MARGIN / min(height, width)
        image = _resized(image, (max(self.side, round(height * factor)), max(self.side, round(width * factor))))
        top, left = ((size - self.side) // 2 for size in image.shape[-2:])
        return image[:, top : top + self.side, left : left + self.side]


def classifier(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """A ResNet (He et al. 2016) that sees crops of `min_size` pixels."""
    body = torchvision.models.get_model(spec.backbone, weights=None, norm_layer=norm_layer(spec.norm))
    return Classifier(body, classes, spec.min_size, spec.crop_scale)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    # Plain bilinear, as the detectors resize.
    return nn.functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


DETECTOR = Detector(build=classifier, parts=(("backbone", "backbone"),), predictors=("fc",), only_in=Classifier)
