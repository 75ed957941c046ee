"""FCOS."""

from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead

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
from lth_deploy.detectors.norms import norm_layer
from lth_deploy.detectors.transform import fit_transform
from lth_deploy.errors import RecipeError

STRIDES = (8, 16, 32, 64, 128)
"""There is one point in a cell; the "anchor size" is the stride of the level."""


class SigmoidFCOS(WithoutBackground, FCOS):  # type: ignore[misc]
    """FCOS without a column for the background."""


def fcos(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """FCOS (Tian et al. 2019). Its head has group norm whatever `norm` says, as the paper and torchvision do.

    Raises:
        RecipeError: aspect ratios are given (it has no anchors), or not five sizes.
    """
    if spec.aspect_ratios is not None:
        raise RecipeError("detector.aspect_ratios: fcos has one point per cell and no ratios; remove the key")
    sizes = level_sizes(spec, LEVELS, STRIDES)
    backbone = pyramid(spec)
    model: nn.Module = SigmoidFCOS(
        backbone,
        classes,
        anchor_generator=AnchorGenerator(tuple((size,) for size in sizes), ((1.0,),) * LEVELS),
        head=_fcos_head(spec.fpn_width, classes),
        **thresholds(spec),
    )
    model.transform = fit_transform(spec.min_size, spec.max_size)
    return model


def _fcos_head(width: int, classes: int) -> nn.Module:
    # torchvision's head insists on 32 groups and fails on widths that 32 does not divide. Both of its
    # branches, the only parts that know the width, are replaced.
    norm = norm_layer("group")
    head: nn.Module = FCOSHead(32, 1, classes)
    head.classification_head = FCOSClassificationHead(width, 1, classes, norm_layer=norm)
    head.regression_head = FCOSRegressionHead(width, 1, norm_layer=norm)
    return head


DETECTOR = Detector(
    build=fcos,
    parts=PARTS,
    predictors=(*PREDICTORS, "head.regression_head.bbox_ctrness"),
    published={"resnet50": "fcos_resnet50_fpn"},
)
