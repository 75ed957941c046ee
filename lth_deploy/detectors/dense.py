"""What the one-stage detectors on a feature pyramid share: RetinaNet and FCOS.

Both score each class with a sigmoid of its own, so they need no background. Their heads here have exactly C
outputs per anchor; labels become 0..C-1 inside and are 1..C outside, as everywhere in this project.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.backbones import resnet_fpn
from lth_deploy.detectors.transform import Target

# C2 is left out, as in the papers: it would carry three quarters of all anchors.
STAGES = (2, 3, 4)
LEVELS = 5
PARTS = (("fpn", "backbone.fpn"), ("backbone", "backbone"), ("dense_head", "head"))
PREDICTORS = ("head.classification_head.cls_logits", "head.regression_head.bbox_reg")


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


class WithoutBackground:
    """Stands before a class of torchvision whose heads score every class by itself: labels count from 0 inside."""

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], *arguments: Any
    ) -> dict[str, Tensor]:
        """Losses of targets whose labels count from 1."""
        outputs = _full_precision(head_outputs)
        losses: dict[str, Tensor] = super().compute_loss(_from_zero(targets), outputs, *arguments)  # type: ignore[misc]
        return losses

    def postprocess_detections(self, *arguments: Any) -> list[Target]:
        """Detections with labels counted from 1."""
        return _from_one(super().postprocess_detections(*arguments))  # type: ignore[misc]


def pyramid(spec: DetectorSpec) -> nn.Module:
    """The backbone with levels P3 to P7."""
    return resnet_fpn(spec, STAGES, LevelsP6P7(spec.fpn_width, spec.fpn_width))


def thresholds(spec: DetectorSpec) -> dict[str, Any]:
    """Arguments of torchvision's classes for scores, suppression and numbers of detections."""
    return {
        "score_thresh": spec.score_threshold,
        "nms_thresh": spec.nms_threshold,
        "detections_per_img": spec.detections,
        "topk_candidates": spec.proposals,
    }


def _full_precision(head_outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs in float32: one minus a small score is 1 in bfloat16, and the focal loss of most anchors would vanish."""
    return {name: output.float() for name, output in head_outputs.items()}


def _from_zero(targets: list[Target]) -> list[Target]:
    """The targets with labels counted from 0."""
    return [{**target, "labels": target["labels"] - 1} for target in targets]


def _from_one(detections: list[Target]) -> list[Target]:
    """The detections with labels counted from 1."""
    return [{**found, "labels": found["labels"] + 1} for found in detections]
