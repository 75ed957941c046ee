"""Small detectors of detectron2 with weights made by a formula, so that no checkpoint is stored."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lth_deploy.detectors.detectron2.names import is_left_out

Floats = npt.NDArray[np.float32]

BASE = """
MODEL:
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS: {OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 16}
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6], PRE_NMS_TOPK_TEST: 200, POST_NMS_TOPK_TEST: 150}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: 3}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 32, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NUM_CONV: 4, CONV_DIM: 8}
  ROI_KEYPOINT_HEAD: {CONV_DIMS: "(8, 8, 8, 8, 8, 8, 8, 8)", NUM_KEYPOINTS: 5}
INPUT: {MIN_SIZE_TEST: 160, MAX_SIZE_TEST: 224}
TEST: {DETECTIONS_PER_IMAGE: 40}
VERSION: 2
"""
RETINANET_BASE = """
MODEL:
  META_ARCHITECTURE: RetinaNet
  BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone}
  RESNETS: {OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 16}
  ANCHOR_GENERATOR:
    SIZES: !!python/object/apply:eval ["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]
  RETINANET: {NUM_CLASSES: 3}
INPUT: {MIN_SIZE_TEST: 160, MAX_SIZE_TEST: 224}
TEST: {DETECTIONS_PER_IMAGE: 40}
VERSION: 2
"""
C4_BASE = """
MODEL:
  RPN: {PRE_NMS_TOPK_TEST: 200, POST_NMS_TOPK_TEST: 60}
  ROI_HEADS: {NAME: Res5ROIHeads, NUM_CLASSES: 3}
  ROI_MASK_HEAD: {CONV_DIM: 10}
INPUT: {MIN_SIZE_TEST: 160, MAX_SIZE_TEST: 224}
TEST: {DETECTIONS_PER_IMAGE: 40}
VERSION: 2
"""
REFERENCES = Path(__file__).parent / "references"
SHALLOW = "RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64}"
IMAGE_SIZE = (160, 192)


@dataclass(frozen=True)
class Case:
    """A configuration: the file that it stands on, and its own lines."""

    base: str
    own: str


CASES = {
    "faster_rcnn": Case(BASE, "MODEL: {WEIGHTS: 'detectron2://ImageNetPretrained/MSRA/R-50.pkl'}"),
    "faster_rcnn_rgb": Case(
        BASE,
        "MODEL: {RESNETS: {STRIDE_IN_1X1: false}, PIXEL_MEAN: [123.675, 116.28, 103.53], "
        "PIXEL_STD: [58.395, 57.12, 57.375], ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: true}}\nINPUT: {FORMAT: RGB}",
    ),
    "faster_rcnn_c4": Case(C4_BASE, "MODEL: {RESNETS: {STRIDE_IN_1X1: false}}\nINPUT: {FORMAT: RGB}"),
    "mask_rcnn_c4": Case(C4_BASE, "MODEL: {MASK_ON: true}"),
    "mask_rcnn": Case(BASE, f"MODEL: {{MASK_ON: true, {SHALLOW}}}"),
    "keypoint_rcnn": Case(BASE, f"MODEL: {{KEYPOINT_ON: true, {SHALLOW}, ANCHOR_GENERATOR: {{OFFSET: 0.5}}}}"),
    "retinanet": Case(RETINANET_BASE, f"MODEL: {{{SHALLOW}}}"),
}


def reference(name: str) -> Any:
    """What detectron2 found of a case; see `make_references.py`."""
    return json.loads((REFERENCES / f"{name}.json").read_text())


def write_config(folder: Path, case: Case) -> Path:
    """The configuration in `folder`, on top of its base in a folder beside."""
    base = folder / "bases" / "base.yaml"
    base.parent.mkdir(exist_ok=True)
    base.write_text(case.base)
    path = folder / "config.yaml"
    path.write_text(f"_BASE_: bases/base.yaml\n{case.own}\n")
    return path


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A tensor for each of detectron2's names that a checkpoint has to have."""
    return {name: torch.from_numpy(weights(name, shape)) for name, shape in shapes.items() if not is_left_out(name)}


def weights(name: str, shape: tuple[int, ...]) -> Floats:
    """Values of a tensor by its name, such that scores differ and boxes stay near their anchors."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return (np.float32(3e4 if ".stem." in name else 1) * (1 + np.float32(0.3) * np.abs(drawn))).astype(np.float32)
    if ".norm.weight" in name:
        return (0.5 + np.float32(0.05) * drawn).astype(np.float32)
    if "mask_head.predictor" in name:  # rows that sum to zero, so that each mask has zeros and ones
        return 9 * (drawn - drawn.mean(axis=1, keepdims=True)) if drawn.ndim > 1 else np.zeros_like(drawn)
    if name.endswith(("bias", "running_mean")):
        return np.float32(0.05) * drawn
    gain = 0.2 if any(part in name for part in ("bbox_pred", "anchor_deltas")) else 1.5
    return drawn * np.float32(gain / np.prod(shape[1:]) ** 0.5)


def image() -> npt.NDArray[np.uint8]:
    """Blocks of colors, uint8 [160, 192, 3] RGB."""
    height, width = IMAGE_SIZE
    blocks = np.random.RandomState(5).randint(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)
