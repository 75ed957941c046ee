"""Keys of detectron2's configurations: their defaults, and what has no counterpart in torchvision's modules.

Source: `detectron2/config/defaults.py` of version 0.6.
"""

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.MASK_ON": False,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.ROI_HEADS.NUM_CLASSES": 80,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 0,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [512] * 8,
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 17,
    "MODEL.RETINANET.NUM_CLASSES": 80,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.05,
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": 1000,
    "MODEL.RETINANET.NMS_THRESH_TEST": 0.5,
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "DATASETS.TRAIN": [],
}
"""Keys that are read, and their values where a configuration does not say them."""

ONLY: Mapping[str, tuple[Any, Any]] = {
    "MODEL.FPN.NORM": ("", ""),
    "MODEL.FPN.FUSE_TYPE": ("sum", "sum"),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator", "DefaultAnchorGenerator"),
    "MODEL.RESNETS.NUM_GROUPS": (1, 1),
    "MODEL.RESNETS.WIDTH_PER_GROUP": (64, 64),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": (64, 64),
    "MODEL.RESNETS.RES5_DILATION": (1, 1),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False] * 4, [False] * 4),
}
"""Keys of every detector with one value that is converted, and detectron2's default."""

ONLY_TWO_STAGE: Mapping[str, tuple[Any, Any]] = {
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone", "build_resnet_backbone"),
    "MODEL.FPN.IN_FEATURES": (["res2", "res3", "res4", "res5"], []),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN", "RPN"),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": (0, 0),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead", "StandardRPNHead"),
    "MODEL.RPN.IN_FEATURES": (["p2", "p3", "p4", "p5", "p6"], ["res4"]),
    "MODEL.RPN.CONV_DIMS": ([-1], [-1]),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads", "Res5ROIHeads"),
    "MODEL.ROI_HEADS.IN_FEATURES": (["p2", "p3", "p4", "p5"], ["res4"]),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead", ""),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlignV2"),
    "MODEL.ROI_BOX_HEAD.NUM_FC": (2, 0),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0, 0),
    "MODEL.ROI_BOX_HEAD.NORM": ("", ""),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False, False),
}
ONLY_C4: Mapping[str, tuple[Any, Any]] = {
    "MODEL.BACKBONE.NAME": ("build_resnet_backbone", "build_resnet_backbone"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN", "RPN"),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": (0, 0),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead", "StandardRPNHead"),
    "MODEL.RPN.IN_FEATURES": (["res4"], ["res4"]),
    "MODEL.RPN.CONV_DIMS": ([-1], [-1]),
    "MODEL.ROI_HEADS.NAME": ("Res5ROIHeads", "Res5ROIHeads"),
    "MODEL.ROI_HEADS.IN_FEATURES": (["res4"], ["res4"]),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlignV2"),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False, False),
}
"""Of two-stage detectors without a pyramid, whose head is the last stage of the ResNet."""
ONLY_MASKS: Mapping[str, tuple[Any, Any]] = {
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead", "MaskRCNNConvUpsampleHead"),
    "MODEL.ROI_MASK_HEAD.NORM": ("", ""),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlignV2"),
}
ONLY_KEYPOINTS: Mapping[str, tuple[Any, Any]] = {
    "MODEL.ROI_KEYPOINT_HEAD.NAME": ("KRCNNConvDeconvUpsampleHead", "KRCNNConvDeconvUpsampleHead"),
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlignV2"),
}
ONLY_RETINANET: Mapping[str, tuple[Any, Any]] = {
    "MODEL.BACKBONE.NAME": ("build_retinanet_resnet_fpn_backbone", "build_resnet_backbone"),
    "MODEL.FPN.IN_FEATURES": (["res3", "res4", "res5"], []),
    "MODEL.RETINANET.IN_FEATURES": (["p3", "p4", "p5", "p6", "p7"], ["p3", "p4", "p5", "p6", "p7"]),
    "MODEL.RETINANET.NORM": ("", ""),
    "MODEL.RETINANET.NUM_CONVS": (4, 4),
}

WITHOUT_EFFECT = (
    *("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.LOAD_PROPOSALS", "MODEL.SEM_SEG_HEAD."),
    *("MODEL.PANOPTIC_FPN.", "MODEL.ROI_BOX_CASCADE_HEAD.", "MODEL.ANCHOR_GENERATOR.ANGLES", "MODEL.RPN.BOUNDARY_"),
    *(
        "MODEL.RPN.IOU_",
        "MODEL.RPN.BATCH_SIZE_",
        "MODEL.RPN.POSITIVE_",
        "MODEL.RPN.BBOX_REG_LOSS_",
        "MODEL.RPN.SMOOTH_",
    ),
    *("MODEL.RPN.LOSS_WEIGHT", "MODEL.RPN.PRE_NMS_TOPK_TRAIN", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "MODEL.ROI_HEADS.IOU_"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_", "MODEL.ROI_HEADS.POSITIVE_", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT"),
    *("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_", "MODEL.ROI_BOX_HEAD.SMOOTH_", "MODEL.ROI_BOX_HEAD.CONV_DIM"),
    *("MODEL.ROI_BOX_HEAD.TRAIN_", "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", "MODEL.ROI_BOX_HEAD.FED_LOSS_"),
    *("MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_", "MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_"),
    *("MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT", "MODEL.RETINANET.IOU_", "MODEL.RETINANET.PRIOR_PROB"),
    *("MODEL.RETINANET.FOCAL_LOSS_", "MODEL.RETINANET.SMOOTH_", "MODEL.RETINANET.BBOX_REG_LOSS_"),
    *("MODEL.RESNETS.OUT_FEATURES", "MODEL.RESNETS.DEFORM_MODULATED", "MODEL.RESNETS.DEFORM_NUM_GROUPS"),
)
"""Keys, or their beginnings, that change nothing of what a trained detector of the converted kinds computes."""
