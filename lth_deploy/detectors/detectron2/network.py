"""torchvision's modules, put together as a configuration of detectron2 says."""

from typing import Any, Literal

from torch import nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import Bottleneck
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors import dense, two_stage
from lth_deploy.detectors.backbones import STAGE_CHANNELS, resnet_fpn
from lth_deploy.detectors.detectron2.anchors import StrideAnchors
from lth_deploy.detectors.detectron2.last_stage import last_stage_parts
from lth_deploy.detectors.detectron2.pooling import AlignedPool
from lth_deploy.detectors.detectron2.retinanet import ConvertedRetinaNet
from lth_deploy.detectors.detectron2.settings import Roi, Settings
from lth_deploy.detectors.families.keypoint_rcnn import HeatMapPredictor
from lth_deploy.detectors.transform import DetectorTransform

POOLED_STRIDES = [4, 8, 16, 32]
PROPOSAL_STRIDES = (4, 8, 16, 32, 64)
RETINANET_STRIDES = (8, 16, 32, 64, 128)
BYTE = 255.0


def build(settings: Settings) -> nn.Module:
    """The detector in evaluation mode, with fresh weights; images are RGB in 0..1, labels 1..classes."""
    model = _retinanet(settings) if settings.family == "retinanet" else _two_stage(settings)
    if settings.stride_in_1x1:
        _move_strides(model)
    model.transform = _transform(settings)
    return model.eval()


def _two_stage(settings: Settings) -> nn.Module:
    parts: dict[str, Any] = {
        "rpn_pre_nms_top_n_test": settings.candidates,
        "rpn_post_nms_top_n_test": settings.proposals,
        "rpn_nms_thresh": settings.proposal_nms,
        "box_score_thresh": settings.score_threshold,
        "box_nms_thresh": settings.nms_threshold,
        "box_detections_per_img": settings.detections,
        "bbox_reg_weights": settings.box_weights,
    }
    network = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN, "keypoint_rcnn": KeypointRCNN}[settings.family]
    form = last_stage_parts(settings) if settings.layout == "c4" else _pyramid_parts(settings)
    model: nn.Module = network(**parts, **form)
    model.get_submodule("rpn").box_coder = BoxCoder(settings.proposal_weights)
    return model


def _pyramid_parts(settings: Settings) -> dict[str, Any]:
    return {
        "backbone": resnet_fpn(_spec(settings), two_stage.STAGES, LastLevelMaxPool()),
        "rpn_anchor_generator": _anchors(settings, PROPOSAL_STRIDES),
        "box_roi_pool": _pool(settings.box_roi),
        "box_head": TwoMLPHead(settings.fpn_width * settings.box_roi.cells**2, settings.head_width),
        "box_predictor": FastRCNNPredictor(settings.head_width, settings.classes + 1),
        **_extra_head(settings),
    }


def _extra_head(settings: Settings) -> dict[str, Any]:
    if settings.family == "mask_rcnn":
        widths = settings.mask_widths
        last = widths[-1] if widths else settings.fpn_width
        return {
            "mask_roi_pool": _pool(settings.mask_roi),
            "mask_head": MaskRCNNHeads(settings.fpn_width, widths, 1),
            "mask_predictor": MaskRCNNPredictor(last, settings.mask_width, settings.classes + 1),
        }
    if settings.family == "keypoint_rcnn":
        widths = settings.keypoint_widths
        return {
            "keypoint_roi_pool": _pool(settings.keypoint_roi),
            "keypoint_head": KeypointRCNNHeads(settings.fpn_width, widths),
            "keypoint_predictor": HeatMapPredictor(widths[-1], settings.keypoints),
        }
    return {}


def _retinanet(settings: Settings) -> nn.Module:
    # detectron2 makes P6 of the backbone's last stage, whatever its channels.
    last = STAGE_CHANNELS[-1] * (Bottleneck.expansion if settings.depth >= 50 else 1)
    extra = dense.LevelsP6P7(last, settings.fpn_width)
    extra.use_P5 = False
    model: nn.Module = ConvertedRetinaNet(
        resnet_fpn(_spec(settings), dense.STAGES, extra),
        settings.classes,
        anchor_generator=_anchors(settings, RETINANET_STRIDES),
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
        topk_candidates=settings.candidates,
    )
    model.box_coder = BoxCoder(settings.box_weights)
    return model


def _spec(settings: Settings) -> DetectorSpec:
    norm: Literal["batch", "frozen"] = "frozen" if settings.frozen_norms else "batch"
    return DetectorSpec(name=settings.family, backbone=settings.backbone, norm=norm, fpn_width=settings.fpn_width)


def _anchors(settings: Settings, strides: tuple[int, ...]) -> StrideAnchors:
    return StrideAnchors(settings.sizes, settings.ratios, strides, settings.offset)


def _pool(roi: Roi) -> AlignedPool:
    return AlignedPool(POOLED_STRIDES, roi.cells, roi.sampling_ratio)


def _transform(settings: Settings) -> DetectorTransform:
    image = settings.image
    order = slice(None, None, -1) if image.order == "BGR" else slice(None)
    mean, std = ([value / BYTE for value in values[order]] for values in (image.mean, image.std))
    return DetectorTransform(image.min_size, image.max_size, mean, std)


def _move_strides(model: nn.Module) -> None:
    """Bottlenecks as the first paper's: the stride in the 1x1 convolution instead of the 3x3 one."""
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
