"""RetinaNet."""

from torch import nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.anchors import level_sizes
from lth_deploy.detectors.dense import (
    LEVELS,
    PARTS,
    PREDICTORS,
    WithoutBackground,
    pyramid,
    thresholds,
)
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.transform import fit_transform

ANCHOR_SIZES = (32, 64, 128, 256, 512)


class SigmoidRetinaNet(WithoutBackground, RetinaNet):  # type: ignore[misc]
    """RetinaNet without a column for the background."""


def retinanet(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """RetinaNet (Lin et al. 2017): levels P3..P7, three octave scales times the aspect ratios per cell.

    Raises:
        RecipeError: `anchor_sizes` does not have one size for each of the five levels.
    """
    bases = level_sizes(spec, LEVELS, ANCHOR_SIZES)
    octaves = tuple(tuple(int(base * 2 ** (step / 3)) for step in range(3)) for base in bases)
    ratios = tuple(spec.aspect_ratios or (0.5, 1.0, 2.0))
    model: nn.Module = SigmoidRetinaNet(
        pyramid(spec),
        classes,
        anchor_generator=AnchorGenerator(octaves, (ratios,) * LEVELS),
        **thresholds(spec),
    )
    model.transform = fit_transform(spec.min_size, spec.max_size)
    if spec.head_init == "kaiming":
        _scale_towers(model)
    return model


def _scale_towers(model: nn.Module) -> None:
    """He initialization (He et al. 2015) of the four convolutions before each predictor.

    The published N(0, 0.01) shrinks a signal by a factor of a thousand over a tower of 64 channels, and global
    magnitude takes weights that small for unimportant: it would empty the heads before it touches the backbone.
    """
    for head in ("classification_head", "regression_head"):
        for layer in model.get_submodule(f"head.{head}.conv").modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


DETECTOR = Detector(
    build=retinanet,
    parts=PARTS,
    predictors=PREDICTORS,
    published={"resnet50": "retinanet_resnet50_fpn"},
    published_without_epsilon=True,
)
