"""One-stage detectors on a feature pyramid: RetinaNet and FCOS.

Both score each class with a sigmoid of its own, so they need no background. Their heads here have exactly C
outputs per anchor; labels become 0..C-1 inside and are 1..C outside, as everywhere in this project.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from lth_deploy.config.recipe import DetectorSpec
from lth_deploy.detectors.anchors import level_sizes
from lth_deploy.detectors.backbones import resnet_fpn
from lth_deploy.detectors.norms import norm_layer
from lth_deploy.detectors.transform import Target, fit_transform
from lth_deploy.errors import RecipeError

# C2 is left out, as in the papers: it would carry three quarters of all anchors.
STAGES = (2, 3, 4)
LEVELS = 5
RETINANET_SIZES = (32, 64, 128, 256, 512)
# FCOS has one point per cell; its "anchor size" is the stride of the level.
FCOS_SIZES = (8, 16, 32, 64, 128)


class LevelsP6P7(LastLevelP6P7):  # type: ignore[misc]
    """The two coarsest levels, in full precision where the pyramid gets one pixel wide.

    On CPUs the bfloat16 gradient of a 3x3 convolution of stride 2 over one column reads memory that nobody wrote
    (oneDNN in torch 2.14).
    """

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Pyramid `p` with P6 and P7 added, of the backbone's outputs `c`."""
        levels: tuple[list[Tensor], list[str]]
        if not torch.is_autocast_enabled("cpu") or c[-1].shape[-1] > 2:
            levels = super().forward(p, c, names)
        else:
            with torch.autocast("cpu", enabled=False):
                levels = super().forward([level.float() for level in p], [level.float() for level in c], names)
        return levels


class SigmoidRetinaNet(RetinaNet):  # type: ignore[misc]
    """RetinaNet without a column for the background."""

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """Losses with labels counted from 0."""
        losses: dict[str, Tensor] = super().compute_loss(_from_zero(targets), _full_precision(head_outputs), anchors)
        return losses

    def postprocess_detections(self, *arguments: Any) -> list[Target]:
        """Detections with labels counted from 1."""
        return _from_one(super().postprocess_detections(*arguments))


class SigmoidFCOS(FCOS):  # type: ignore[misc]
    """FCOS without a column for the background."""

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], *arguments: Any
    ) -> dict[str, Tensor]:
        """Losses with labels counted from 0."""
        outputs = _full_precision(head_outputs)
        losses: dict[str, Tensor] = super().compute_loss(_from_zero(targets), outputs, *arguments)
        return losses

    def postprocess_detections(self, *arguments: Any) -> list[Target]:
        """Detections with labels counted from 1."""
        return _from_one(super().postprocess_detections(*arguments))


def retinanet(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """RetinaNet (Lin et al. 2017): levels P3..P7, three octave scales times the aspect ratios per cell.

    Raises:
        RecipeError: `anchor_sizes` does not have one size for each of the five levels.
    """
    bases = level_sizes(spec, LEVELS, RETINANET_SIZES)
    octaves = tuple(tuple(int(base * 2 ** (step / 3)) for step in range(3)) for base in bases)
    ratios = tuple(spec.aspect_ratios or (0.5, 1.0, 2.0))
    model: nn.Module = SigmoidRetinaNet(
        _pyramid(spec),
        classes,
        anchor_generator=AnchorGenerator(octaves, (ratios,) * LEVELS),
        **_thresholds(spec),
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


def fcos(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """FCOS (Tian et al. 2019). Its head has group norm whatever `norm` says, as the paper and torchvision do.

    Raises:
        RecipeError: aspect ratios are given (it has no anchors), or not five sizes.
    """
    if spec.aspect_ratios is not None:
        raise RecipeError("detector.aspect_ratios: fcos has one point per cell and no ratios; remove the key")
    sizes = level_sizes(spec, LEVELS, FCOS_SIZES)
    backbone = _pyramid(spec)
    model: nn.Module = SigmoidFCOS(
        backbone,
        classes,
        anchor_generator=AnchorGenerator(tuple((size,) for size in sizes), ((1.0,),) * LEVELS),
        head=_fcos_head(spec.fpn_width, classes),
        **_thresholds(spec),
    )
    model.transform = fit_transform(spec.min_size, spec.max_size)
    return model


def _pyramid(spec: DetectorSpec) -> nn.Module:
    return resnet_fpn(spec, STAGES, LevelsP6P7(spec.fpn_width, spec.fpn_width))


def _fcos_head(width: int, classes: int) -> nn.Module:
    # torchvision's head insists on 32 groups and fails on widths that 32 does not divide. Both of its
    # branches, the only parts that know the width, are replaced.
    norm = norm_layer("group")
    head: nn.Module = FCOSHead(32, 1, classes)
    head.classification_head = FCOSClassificationHead(width, 1, classes, norm_layer=norm)
    head.regression_head = FCOSRegressionHead(width, 1, norm_layer=norm)
    return head


def _thresholds(spec: DetectorSpec) -> dict[str, Any]:
    return {
        "score_thresh": spec.score_threshold,
        "nms_thresh": spec.nms_threshold,
        "detections_per_img": spec.detections,
        "topk_candidates": spec.proposals,
    }


def _full_precision(head_outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    # One minus a small score is 1 in bfloat16, and the focal loss of most anchors would vanish.
    return {name: output.float() for name, output in head_outputs.items()}


def _from_zero(targets: list[Target]) -> list[Target]:
    return [{**target, "labels": target["labels"] - 1} for target in targets]


def _from_one(detections: list[Target]) -> list[Target]:
    return [{**found, "labels": found["labels"] + 1} for found in detections]
