"""Two-stage detectors without a pyramid (C4): one feature level, and the last stage of the ResNet as the head."""

from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from lth_deploy.detectors.c4 import LastStageHead, StrideSixteen
from lth_deploy.detectors.detectron2.anchors import StrideAnchors
from lth_deploy.detectors.detectron2.pooling import AlignedPool
from lth_deploy.detectors.detectron2.settings import Settings
from lth_deploy.detectors.norms import norm_layer

STRIDE = 16


class LastStageMaskHead(MaskRCNNHeads):  # type: ignore[misc]
    """The stage that the box head holds, on regions of found objects, and the convolutions of a mask head.

    Its weights are those of the box head, so the stage is no submodule here too: a state has them once.
    """

    def __init__(self, stage: nn.Module, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__(channels, widths, 1)
        self._stage = (stage,)

    def forward(self, regions: Tensor) -> Tensor:
        """Features [R, C, S/2, S/2] of regions [R, C/2, S, S]."""
        features: Tensor = super().forward(self._stage[0](regions))
        return features


def last_stage_parts(settings: Settings) -> dict[str, Any]:
    """Torchvision's arguments for backbone, anchors and heads."""
    norm = norm_layer("frozen" if settings.frozen_norms else "batch")
    resnet = torchvision.models.get_model(settings.backbone, weights=None, norm_layer=norm)
    outputs = resnet.inplanes
    parts = {
        "backbone": StrideSixteen(resnet, outputs // 2),
        "rpn_anchor_generator": StrideAnchors(settings.sizes, settings.ratios, (STRIDE,), settings.offset),
        "box_roi_pool": _pool(settings),
        "box_head": LastStageHead(resnet.layer4),
        "box_predictor": FastRCNNPredictor(outputs, settings.classes + 1),
    }
    if settings.family == "mask_rcnn":
        widths = settings.mask_widths
        parts |= {
            "mask_roi_pool": _pool(settings),  # masks are read as boxes are
            "mask_head": LastStageMaskHead(resnet.layer4, outputs, widths),
            "mask_predictor": MaskRCNNPredictor(
                widths[-1] if widths else outputs, settings.mask_width, settings.classes + 1
            ),
        }
    return parts


def _pool(settings: Settings) -> AlignedPool:
    return AlignedPool([STRIDE], settings.box_roi.cells, settings.box_roi.sampling_ratio)
