"""Carrying a detector's final predictors over to another list of classes."""

import logging

import torch
import torchvision
from torch import Tensor, nn

log = logging.getLogger(__name__)

State = dict[str, Tensor]

# Layers with outputs per class, and how many outputs of one class lie side by side. Where there are anchors,
# outputs run anchor by anchor, and class by class within.
SOFTMAX_LAYERS = {
    "roi_heads.box_predictor.cls_score": 1,
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_predictor.mask_fcn_logits": 1,
    **{f"head.classification_head.module_list.{level}.1": 1 for level in range(6)},
}
SIGMOID_LAYER = "head.classification_head.cls_logits"
# Columns of torchvision's COCO detectors: background, 80 classes, ten gaps.
COCO_COLUMNS = 91


def fit_classes(model: nn.Module, state: State, classes: int) -> State:
    """Leave out of final predictors what they say about classes that `model` does not have.

    Two cases are known: torchvision's 91 columns of COCO (background and ten gaps included) for a data set of
    the 80 classes in COCO's order, and a one-stage head of torchvision whose first column stands for a
    background that is never predicted. Everything else is returned as it is.
    """
    own = model.state_dict()
    fitted = dict(state)
    for layer, width in {**SOFTMAX_LAYERS, SIGMOID_LAYER: 1}.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in own and name in state and own[name].shape != state[name].shape:
                total, kept = _columns(state[name].shape[0], own[name].shape[0], classes, layer)
                fitted[name] = _cut(state[name], total, kept, width)
    return fitted


def _columns(found: int, wanted: int, classes: int, layer: str) -> tuple[int, list[int]]:
    """How many columns the found layer has per anchor, and which to keep; (0, []) when that is not known."""
    sigmoid = layer == SIGMOID_LAYER
    columns = classes if sigmoid else classes + 1
    coco = _coco_columns()
    if classes == len(coco) and found * columns == wanted * COCO_COLUMNS:
        return COCO_COLUMNS, coco if sigmoid else [0, *coco]
    if sigmoid and found * columns == wanted * (columns + 1):
        log.warning("%s: the first of %d classes is taken for a background and left out", layer, columns + 1)
        return columns + 1, list(range(1, columns + 1))
    return 0, []


def _cut(values: Tensor, total: int, kept: list[int], width: int) -> Tensor:
    if not kept:
        return values
    columns = values.reshape(-1, total, width, *values.shape[1:])[:, torch.tensor(kept)]
    return columns.reshape(-1, *values.shape[1:])


def _coco_columns() -> list[int]:
    """Positions of the 80 real classes among torchvision's 91."""
    names = torchvision.models.get_model_weights("fasterrcnn_resnet50_fpn")["COCO_V1"].meta["categories"]
    return [index for index, name in enumerate(names) if name not in ("N/A", "__background__")]
