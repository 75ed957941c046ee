"""What the two-stage detectors share: Faster, Mask and Keypoint R-CNN on a feature pyramid.

Where torchvision fixes a figure for 256 channels and a large machine, it is tied here to the recipe so that
the default recipe gives torchvision's network: mask head as wide as the pyramid, keypoint head twice as
wide, training proposals in proportion to `proposals`.
"""

from typing import Any

from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import initLevelMapper

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.anchors import level_sizes
from lth_deploy.detectors.backbones import resnet_fpn
from lth_deploy.detectors.transform import fit_transform

STAGES = (1, 2, 3, 4)
LEVELS = 5  # the four stages and a subsampled last one, which only the proposal network reads
ANCHOR_SIZES = (32, 64, 128, 256, 512)
BOX_CELLS = 7
# Boxes sampled per image for the second stage's loss, at most; torchvision's figure.
SAMPLED_BOXES = 512


PARTS = (
    ("fpn", "backbone.fpn"),
    ("backbone", "backbone"),
    ("rpn", "rpn"),
    ("box_head", "roi_heads.box_head"),
)
"""The parts that all of them have."""
PREDICTORS = (
    "rpn.head.cls_logits",
    "rpn.head.bbox_pred",
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
)


def pyramid_parts(spec: DetectorSpec, classes: int) -> dict[str, Any]:
    """Arguments of torchvision's classes for backbone, proposal network and box head on a feature pyramid."""
    sizes = level_sizes(spec, LEVELS, ANCHOR_SIZES)
    ratios = tuple(spec.aspect_ratios or (0.5, 1.0, 2.0))
    return {
        "backbone": resnet_fpn(spec, STAGES, LastLevelMaxPool()),
        "rpn_anchor_generator": AnchorGenerator(tuple((size,) for size in sizes), (ratios,) * LEVELS),
        "box_roi_pool": pool(BOX_CELLS),
        "box_head": TwoMLPHead(spec.fpn_width * BOX_CELLS**2, spec.head_width),
        "box_predictor": FastRCNNPredictor(spec.head_width, classes + 1),
    }


def settings(spec: DetectorSpec) -> dict[str, Any]:
    """Arguments of torchvision's classes for the numbers of proposals and detections."""
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


def pool(cells: int) -> MultiScaleRoIAlign:
    """RoIAlign over the four stages with their true strides.

    Left alone, torchvision guesses the strides from the first batch it sees, and guesses wrong for images
    below about 75 pixels, where padding to 32 distorts the quotient.
    """
    names = [str(level) for level in range(len(STAGES))]
    pool = MultiScaleRoIAlign(names, output_size=cells, sampling_ratio=2)
    pool.scales = [2.0 ** -(stage + 1) for stage in STAGES]
    pool.map_levels = initLevelMapper(min(STAGES) + 1, max(STAGES) + 1)
    return pool


def finish(model: nn.Module, spec: DetectorSpec) -> nn.Module:
    """The detector with the image sizes of the recipe."""
    model.transform = fit_transform(spec.min_size, spec.max_size)
    return model
