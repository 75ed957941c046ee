"""Which part of a detector each layer belongs to, by module identity and type and never by name fragments."""

from collections.abc import Collection, Iterator, Sequence

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lth_deploy.detectors.classifier import Classifier
from lth_deploy.errors import RecipeError

PRUNABLE_TYPES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

# Where each part hangs in torchvision's detectors; the first match from the top wins.
PARTS = (
    ("fpn", "backbone.fpn"),
    ("backbone", "backbone"),
    ("rpn", "rpn"),
    ("box_head", "roi_heads.box_head"),
    ("mask_head", "roi_heads.mask_head"),
    ("mask_head", "roi_heads.mask_predictor"),
    ("keypoint_head", "roi_heads.keypoint_head"),
    ("dense_head", "head"),
)
# Layers whose outputs are the detector's answer: logits and box deltas.
PREDICTORS = (
    "rpn.head.cls_logits",
    "rpn.head.bbox_pred",
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
    "roi_heads.mask_predictor.mask_fcn_logits",
    "roi_heads.keypoint_predictor.kps_score_lowres",
    "head.classification_head.cls_logits",
    "head.regression_head.bbox_reg",
    "head.regression_head.bbox_ctrness",
)
# SSDLite has one prediction block a level; its last convolution predicts.
PREDICTION_BLOCKS = ("head.classification_head.module_list", "head.regression_head.module_list")


def part_of(name: str) -> str:
    """The part that a parameter or buffer of this name belongs to in a detector that has it; `other` for none."""
    for part, path in (*(("predictor", predictor) for predictor in PREDICTORS), *PARTS):
        if name.startswith(f"{path}."):
            return part
    return "other"


def named_parts(names: Sequence[str], present: Collection[str], complaint: str) -> set[str]:
    """The parts that a recipe's names mean, `head` being all heads; everything present where it names none.

    Raises:
        RecipeError: a name means no part that is present; the message begins with `complaint`.
    """
    if not names:
        return set(present)
    heads = {part for part in present if part.endswith("_head")}
    for name in names:
        if not (heads if name == "head" else name in present):
            raise RecipeError(f"{complaint} '{name}'; choose among {', '.join(sorted(present))}")
    return {part for name in names for part in (heads if name == "head" else {name})}


def prunable_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every Conv2d, ConvTranspose2d and Linear by name, in the order of the model; shared modules once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PRUNABLE_TYPES)}


def final_predictors(model: nn.Module) -> set[str]:
    """Names of the layers that give logits and box deltas, those of the proposal network included."""
    predictors = {id(module) for module in _predictors(model)}
    return {name for name, module in prunable_modules(model).items() if id(module) in predictors}


def shortcuts(model: nn.Module) -> set[str]:
    """Names of the 1x1 convolutions on the short path of residual blocks."""
    short = {
        id(layer)
        for block in model.modules()
        if isinstance(block, BasicBlock | Bottleneck) and block.downsample is not None
        for layer in block.downsample.modules()
    }
    return {name for name, module in prunable_modules(model).items() if id(module) in short}


def stem(model: nn.Module) -> str:
    """Name of the first convolution, the one that sees the image."""
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return names[0]


def layer_groups(model: nn.Module) -> dict[str, str]:
    """The part each prunable layer belongs to, by layer name.

    Parts: backbone, fpn, rpn, box_head, mask_head, keypoint_head, dense_head, predictor; `other` for a layer
    of a detector that is built in another way.
    """
    group: dict[int, str] = {id(module): "predictor" for module in _predictors(model)}
    for part, path in PARTS:
        for module in _below(model, path):
            group.setdefault(id(module), part)
    return {name: group.get(id(module), "other") for name, module in prunable_modules(model).items()}


def _predictors(model: nn.Module) -> Iterator[nn.Module]:
    if isinstance(model, Classifier):
        yield model.fc
    for path in PREDICTORS:
        yield from _below(model, path)
    for path in PREDICTION_BLOCKS:
        blocks = _find(model, path)
        for block in blocks.children() if blocks is not None else ():
            yield list(block.modules())[-1]


def _below(model: nn.Module, path: str) -> Iterator[nn.Module]:
    found = _find(model, path)
    if found is not None:
        yield from found.modules()


def _find(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None
