"""SSDLite on MobileNetV3-Large: the small single-shot detector (Howard et al. 2019, section 6.3)."""

import math
from collections.abc import Sequence

import torchvision
from torch import nn
from torchvision.models.detection._utils import retrieve_out_channels
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.anchors import level_sizes
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.norms import freeze_children, norm_layer
from lth_deploy.detectors.transform import DetectorTransform

LEVELS = 6
# Maps pixel values 0..1 to -1..1.
MEAN = STD = (0.5, 0.5, 0.5)
TOP_CANDIDATES = 300
# The block of MobileNetV3-Large whose expansion is the first feature map, at stride 16.
C4_BLOCK = 13
# First block of each stage; `frozen_layers` k freezes the blocks before entry k.
STAGE_STARTS = (0, 2, 4, 7, 13)


def ssdlite(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """SSDLite; every image is resized to `max_size` wide and `min_size` high, whatever its shape.

    `anchor_sizes` are pixels in that resized image, one for each of six levels.

    Raises:
        RecipeError: `anchor_sizes` has not six entries.
    """
    size = (spec.max_size, spec.min_size)
    # Constants of the reference implementation: the slow statistics suit its long training.
    norm = norm_layer(spec.norm, eps=0.001, momentum=0.03)
    # torchvision's detector weights have the narrow tail of the paper's table 6, its classifier's do not.
    body = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=spec.weights != "backbone")
    _draw_weights(body)
    backbone = SSDLiteFeatureExtractorMobileNet(body.features, C4_BLOCK, norm)
    anchors = _default_boxes(spec, size)
    channels = retrieve_out_channels(backbone, size)
    model: nn.Module = SSD(
        backbone,
        anchors,
        size,
        classes + 1,
        head=SSDLiteHead(channels, anchors.num_anchors_per_location(), classes + 1, norm),
        score_thresh=spec.score_threshold,
        nms_thresh=spec.nms_threshold,
        detections_per_img=spec.detections,
        topk_candidates=min(TOP_CANDIDATES, spec.proposals),
    )
    model.transform = DetectorTransform(min(size), max(size), list(MEAN), list(STD), size_divisible=1, fixed_size=size)
    return model


def freeze_ssdlite(backbone: nn.Module, count: int) -> None:
    """Freeze the first `count` (0..5) stages; 5 is the whole MobileNet, never the extra levels."""
    if count >= len(STAGE_STARTS):
        freeze_children(backbone, ["features"])
    elif count > 0:
        first = backbone.get_submodule("features.0")
        freeze_children(first, [str(block) for block in range(STAGE_STARTS[count])])


def _default_boxes(spec: DetectorSpec, size: tuple[int, int]) -> DefaultBoxGenerator:
    ratios = [list(spec.aspect_ratios or (2.0, 3.0)) for _ in range(LEVELS)]
    if spec.anchor_sizes is None:
        return DefaultBoxGenerator(ratios, min_ratio=0.2, max_ratio=0.95)
    scale = math.sqrt(size[0] * size[1])
    sizes: Sequence[int] = level_sizes(spec, LEVELS, ())
    return DefaultBoxGenerator(ratios, scales=[*(pixels / scale for pixels in sizes), 1.0])


def _draw_weights(body: nn.Module) -> None:
    """Initial weights of the reference implementation for training without a pretrained backbone."""
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, mean=0.0, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


DETECTOR = Detector(
    build=ssdlite,
    parts=(("backbone", "backbone"), ("dense_head", "head")),
    prediction_blocks=("head.classification_head.module_list", "head.regression_head.module_list"),
    freeze=freeze_ssdlite,
    published={"mobilenet_v3_large": "ssdlite320_mobilenet_v3_large"},
)
