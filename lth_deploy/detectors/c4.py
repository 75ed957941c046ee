"""The parts of Faster R-CNN without a pyramid: conv1 to layer3 for the whole image, layer4 for each region.

Sizes are detectron2's for this layout, but for the proposal network's 512 channels, which are the first paper's and
those of Girish et al. 2021, whose shares of parameters they give.
"""

from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.norms import norm_layer

LEVEL = "0"
STRIDE_BITS = 4
"""layer3 has one cell for 2^4 pixels."""
ANCHOR_SIZES = (32, 64, 128, 256, 512)
RPN_WIDTH = 512
# Candidates that go into the suppression for one proposal that may come out: there is one level to take them from.
CANDIDATES = {"train": 12, "test": 6}
LAST_STAGES = ("backbone.body.layer4.", "roi_heads.box_head.layer4.")
"""Where the last stage of a ResNet hangs: in the backbone, or, in this layout, in the box head."""


class StrideSixteen(nn.Module):
    """A ResNet up to layer3, as a backbone of one level."""

    def __init__(self, resnet: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(resnet, {"layer3": LEVEL})
        self.out_channels = channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Features [N, C, H/16, W/16] of normalized images [N, 3, H, W]."""
        features: OrderedDict[str, Tensor] = self.body(images)
        return features


class LastStageHead(nn.Module):
    """layer4 on every region, averaged over its cells (He et al. 2016, appendix A)."""

    def __init__(self, layer4: nn.Module) -> None:
        super().__init__()
        self.layer4 = layer4

    def forward(self, regions: Tensor) -> Tensor:
        """Features [R, 2C] of regions [R, C, S, S]."""
        features: Tensor = self.layer4(regions)
        return features.mean(dim=(2, 3))


def c4_parts(spec: DetectorSpec, classes: int) -> dict[str, Any]:
    """Torchvision's arguments for a Faster R-CNN of this layout (Ren et al. 2015, He et al. 2016)."""
    resnet = torchvision.models.get_model(spec.backbone, weights=None, norm_layer=norm_layer(spec.norm))
    outputs = resnet.inplanes
    sizes = tuple(spec.anchor_sizes or ANCHOR_SIZES)
    ratios = tuple(spec.aspect_ratios or (0.5, 1.0, 2.0))
    return {
        "backbone": StrideSixteen(resnet, outputs // 2),
        "rpn_anchor_generator": AnchorGenerator((sizes,), (ratios,)),
        "rpn_head": _rpn_head(outputs // 2, len(sizes) * len(ratios)),
        "box_roi_pool": _pool(spec.roi_cells),
        "box_head": LastStageHead(resnet.layer4),
        "box_predictor": FastRCNNPredictor(outputs, classes + 1),
        "rpn_pre_nms_top_n_train": CANDIDATES["train"] * spec.proposals,
        "rpn_pre_nms_top_n_test": CANDIDATES["test"] * spec.proposals,
    }


def with_last_stage_at_home(tensors: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """`tensors` of a network, by name, with the last stage of its ResNet where another, of the names `own`, has it.

    Other layers of the head that the stage moves into are left out: they stand where layer4 does here.
    """
    home = next((prefix for prefix in LAST_STAGES if any(name.startswith(prefix) for name in own)), None)
    away = next((prefix for prefix in LAST_STAGES if any(name.startswith(prefix) for name in tensors)), None)
    if home is None or away is None or home == away:
        return tensors
    moved = {f"{home}{name.removeprefix(away)}": one for name, one in tensors.items() if name.startswith(away)}
    head = LAST_STAGES[1].removesuffix("layer4.")
    return {name: one for name, one in tensors.items() if not name.startswith((away, head))} | moved


def _rpn_head(channels: int, anchors: int) -> RPNHead:
    head = RPNHead(RPN_WIDTH, anchors)
    # torchvision's is as wide as its input.
    conv = nn.Conv2d(channels, RPN_WIDTH, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.get_parameter("bias"))
    head.conv[0][0] = conv
    return head


def _pool(cells: int) -> MultiScaleRoIAlign:
    # Scale and level are set because torchvision guesses the scale from the first batch it sees.
    pool = MultiScaleRoIAlign([LEVEL], output_size=cells, sampling_ratio=2)
    pool.scales = [2.0**-STRIDE_BITS]
    pool.map_levels = initLevelMapper(STRIDE_BITS, STRIDE_BITS)
    return pool
