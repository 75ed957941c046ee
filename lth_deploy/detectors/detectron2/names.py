"""Names of tensors: detectron2's, and torchvision's for the same."""

import re
from collections.abc import Mapping

_RENAMED: tuple[tuple[str, str], ...] = (
    (r"backbone\.stem\.conv1\.norm\.(.+)", r"backbone.body.bn1.\1"),
    (r"backbone\.stem\.conv1\.(weight|bias)", r"backbone.body.conv1.\1"),
    (r"backbone\.res(\d)\.(\d+)\.conv(\d)\.norm\.(.+)", r"backbone.body.layer{\1-1}.\2.bn\3.\4"),
    (r"backbone\.res(\d)\.(\d+)\.conv(\d)\.(weight|bias)", r"backbone.body.layer{\1-1}.\2.conv\3.\4"),
    (r"backbone\.res(\d)\.(\d+)\.shortcut\.norm\.(.+)", r"backbone.body.layer{\1-1}.\2.downsample.1.\3"),
    (r"backbone\.res(\d)\.(\d+)\.shortcut\.(weight|bias)", r"backbone.body.layer{\1-1}.\2.downsample.0.\3"),
    (r"roi_heads\.res5\.(\d+)\.conv(\d)\.norm\.(.+)", r"roi_heads.box_head.layer4.\1.bn\2.\3"),
    (r"roi_heads\.res5\.(\d+)\.conv(\d)\.(weight|bias)", r"roi_heads.box_head.layer4.\1.conv\2.\3"),
    (r"roi_heads\.res5\.(\d+)\.shortcut\.norm\.(.+)", r"roi_heads.box_head.layer4.\1.downsample.1.\2"),
    (r"roi_heads\.res5\.(\d+)\.shortcut\.(weight|bias)", r"roi_heads.box_head.layer4.\1.downsample.0.\2"),
    (r"backbone\.fpn_lateral(\d)\.(weight|bias)", r"backbone.fpn.inner_blocks.{\1-FIRST}.0.\2"),
    (r"backbone\.fpn_output(\d)\.(weight|bias)", r"backbone.fpn.layer_blocks.{\1-FIRST}.0.\2"),
    (r"backbone\.top_block\.(p[67])\.(weight|bias)", r"backbone.fpn.extra_blocks.\1.\2"),
    (r"proposal_generator\.rpn_head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(.+)", r"rpn.head.cls_logits.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(.+)", r"rpn.head.bbox_pred.\1"),
    (r"roi_heads\.box_head\.fc([12])\.(.+)", r"roi_heads.box_head.fc{\1+5}.\2"),
    (r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.(.+)", r"roi_heads.box_predictor.\1.\2"),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)\.(.+)", r"roi_heads.mask_head.{\1-1}.0.\2"),
    (r"roi_heads\.mask_head\.deconv\.(.+)", r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"roi_heads\.mask_head\.predictor\.(.+)", r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
    (r"roi_heads\.keypoint_head\.conv_fcn(\d+)\.(.+)", r"roi_heads.keypoint_head.{\1*2-2}.\2"),
    (r"roi_heads\.keypoint_head\.score_lowres\.(.+)", r"roi_heads.keypoint_predictor.kps_score_lowres.\1"),
    (r"head\.cls_subnet\.(\d)\.(.+)", r"head.classification_head.conv.{\1/2}.0.\2"),
    (r"head\.bbox_subnet\.(\d)\.(.+)", r"head.regression_head.conv.{\1/2}.0.\2"),
    (r"head\.cls_score\.(.+)", r"head.classification_head.cls_logits.\1"),
    (r"head\.bbox_pred\.(.+)", r"head.regression_head.bbox_reg.\1"),
)
"""Patterns of detectron2's names, and torchvision's; what stands in braces is computed."""

COMPUTED = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors")
"""Parts of names of tensors that follow from the configuration."""
_NOT_USED = ("num_batches_tracked",)


def renamed(name: str, first_level: int) -> str | None:
    """Torchvision's name of a tensor; None where it has no place there.

    first_level: of the feature pyramid, 2 of two-stage detectors and 3 of RetinaNet.
    """
    name = name.replace("backbone.bottom_up.", "backbone.", 1)  # below a pyramid; without one there is no such level
    for pattern, replacement in _RENAMED:
        match = re.fullmatch(pattern, name)
        if match is not None:
            text = match.expand(replacement).replace("FIRST", str(first_level))
            return re.sub(r"\{(\d+)([-+/])(\d+)\}|\{(\d+)\*2-2\}", _computed, text)
    return None


def first_level(family: str) -> int:
    """The lowest level of the feature pyramid of a detector, as `renamed` takes it."""
    return 3 if family == "retinanet" else 2


def is_left_out(name: str) -> bool:
    """Whether a tensor of a checkpoint is made anew from the configuration, or means nothing to a trained detector."""
    return any(part in name for part in COMPUTED) or name.endswith(_NOT_USED)


def _computed(match: re.Match[str]) -> str:
    left, operator, right, doubled = match.groups()
    if doubled is not None:
        return str(2 * int(doubled) - 2)
    operations: Mapping[str, int] = {
        "-": int(left) - int(right),
        "+": int(left) + int(right),
        "/": int(left) // int(right),
    }
    return str(operations[operator])
