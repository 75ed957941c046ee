"""Two-stage detectors: Faster, Mask and Keypoint R-CNN, on a feature pyramid if the recipe says nothing else.

Where torchvision fixes a figure for 256 channels and a large machine, it is tied here to the recipe so that
the default recipe gives torchvision's network: mask head as wide as the pyramid, keypoint head twice as
wide, training proposals in proportion to `proposals`.
"""

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import initLevelMapper

from lth_deploy.config.recipe import DetectorSpec
from lth_deploy.detectors.anchors import level_sizes
from lth_deploy.detectors.backbones import resnet_fpn
from lth_deploy.detectors.c4 import c4_parts
from lth_deploy.detectors.transform import fit_transform
from lth_deploy.errors import RecipeError

STAGES = (1, 2, 3, 4)
LEVELS = 5  # the four stages and a subsampled last one, which only the proposal network reads
ANCHOR_SIZES = (32, 64, 128, 256, 512)
BOX_CELLS = 7
# Boxes sampled per image for the second stage's loss, at most; torchvision's figure.
SAMPLED_BOXES = 512


def faster_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017), or with layer4 on each region."""
    parts = c4_parts(spec, classes) if spec.layout == "c4" else _pyramid_parts(spec, classes)
    model: nn.Module = FasterRCNN(**{**_settings(spec), **parts})
    return _finish(model, spec)


def mask_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Mask R-CNN (He et al. 2017)."""
    width = spec.fpn_width
    model: nn.Module = MaskRCNN(
        **_settings(spec),
        **_pyramid_parts(spec, classes),
        mask_roi_pool=_pool(14),
        mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
    )
    return _finish(model, spec)


def keypoint_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Keypoint R-CNN (He et al. 2017).

    Raises:
        RecipeError: the data set names no keypoints.
    """
    if keypoints < 1:
        raise RecipeError(
            "detector.name: keypoint_rcnn needs keypoints, and no category of the data set names any; "
            "add 'keypoints' to the categories or choose another detector"
        )
    width = 2 * spec.fpn_width
    model: nn.Module = KeypointRCNN(
        **_settings(spec),
        **_pyramid_parts(spec, classes),
        keypoint_roi_pool=_pool(14),
        keypoint_head=KeypointRCNNHeads(spec.fpn_width, (width,) * 8),
        keypoint_predictor=_KeypointPredictor(width, keypoints),
    )
    return _finish(model, spec)


def _pyramid_parts(spec: DetectorSpec, classes: int) -> dict[str, Any]:
    sizes = level_sizes(spec, LEVELS, ANCHOR_SIZES)
    ratios = tuple(spec.aspect_ratios or (0.5, 1.0, 2.0))
    return {
        "backbone": resnet_fpn(spec, STAGES, LastLevelMaxPool()),
        "rpn_anchor_generator": AnchorGenerator(tuple((size,) for size in sizes), (ratios,) * LEVELS),
        "box_roi_pool": _pool(BOX_CELLS),
        "box_head": TwoMLPHead(spec.fpn_width * BOX_CELLS**2, spec.head_width),
        "box_predictor": FastRCNNPredictor(spec.head_width, classes + 1),
    }


def _settings(spec: DetectorSpec) -> dict[str, Any]:
    return {
        "rpn_pre_nms_top_n_train": 2 * spec.proposals,
        "rpn_post_nms_top_n_train": 2 * spec.proposals,
        "rpn_pre_nms_top_n_test": spec.proposals,
        "rpn_post_nms_top_n_test": spec.proposals,
        "box_batch_size_per_image": min(SAMPLED_BOXES, spec.proposals),
        "box_score_thresh": spec.score_threshold,
        "box_nms_thresh": spec.nms_threshold,
        "box_detections_per_img": spec.detections,
    }


def _pool(cells: int) -> MultiScaleRoIAlign:
    """RoIAlign over the four stages with their true strides.

    Left alone, torchvision guesses the strides from the first batch it sees, and guesses wrong for images
    below about 75 pixels, where padding to 32 distorts the quotient.
    """
    names = [str(level) for level in range(len(STAGES))]
    pool = MultiScaleRoIAlign(names, output_size=cells, sampling_ratio=2)
    pool.scales = [2.0 ** -(stage + 1) for stage in STAGES]
    pool.map_levels = initLevelMapper(min(STAGES) + 1, max(STAGES) + 1)
    return pool


def _finish(model: nn.Module, spec: DetectorSpec) -> nn.Module:
    model.transform = fit_transform(spec.min_size, spec.max_size)
    return model


class _KeypointPredictor(KeypointRCNNPredictor):  # type: ignore[misc]
    """torchvision's predictor with heat maps laid out as its loss views them, whatever layout the weights have."""

    def forward(self, x: Tensor) -> Tensor:
        heat_maps: Tensor = super().forward(x)
        return heat_maps.contiguous()
