"""Mask R-CNN."""

from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.two_stage import PARTS, PREDICTORS, finish, pool, pyramid_parts, settings


def mask_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Mask R-CNN (He et al. 2017)."""
    width = spec.fpn_width
    model: nn.Module = MaskRCNN(
        **settings(spec),
        **pyramid_parts(spec, classes),
        mask_roi_pool=pool(14),
        mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
    )
    return finish(model, spec)


DETECTOR = Detector(
    build=mask_rcnn,
    parts=(*PARTS, ("mask_head", "roi_heads.mask_head"), ("mask_head", "roi_heads.mask_predictor")),
    predictors=(*PREDICTORS, "roi_heads.mask_predictor.mask_fcn_logits"),
    published={"resnet50": "maskrcnn_resnet50_fpn"},
    published_without_epsilon=True,
)
