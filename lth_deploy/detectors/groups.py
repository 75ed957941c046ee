"""Which part of a detector each layer belongs to, by module identity and type and never by name fragments."""

from collections.abc import Collection, Iterator, Sequence

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lth_deploy.detectors.entry import DETECTORS
from lth_deploy.detectors.layout import Layout, layout_of
from lth_deploy.errors import RecipeError

PRUNABLE_TYPES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _parts(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Every part that a detector may have, with the path of its submodule; inner ones before those around them."""
    layout = layout_of(model)
    tables = [DETECTORS.get(name).parts for name in DETECTORS] if layout is None else [layout.parts]
    parts = dict.fromkeys(part for table in tables for part in table)
    yield from sorted(parts, key=lambda part: part[1].count("."), reverse=True)


def _predictor_paths(model: nn.Module, *, of_all: bool = False) -> list[str]:
    """The predictors of the detectors that a model may be, or of all detectors of torchvision's that there are."""
    layout = layout_of(model)
    if layout is not None:
        return list(layout.predictors)
    fitting = [entry for entry in map(DETECTORS.get, DETECTORS) if of_all or isinstance(model, entry.only_in)]
    return list(dict.fromkeys(path for entry in fitting for path in entry.predictors))


def part_of(name: str, model: nn.Module) -> str:
    """The part that a parameter or buffer of this name belongs to in a detector as `model` is; `other` for none."""
    for part, path in (
        *(("predictor", predictor) for predictor in _predictor_paths(model, of_all=True)),
        *_parts(model),
    ):
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
    """Every Conv2d, ConvTranspose2d and Linear with weights of its own, in the order of the model; shared ones once.

    Without constants of the architecture, and without what is there for training only; see `Layout`.
    """
    layout = layout_of(model) or Layout()
    modules = ((name, module) for name, module in model.named_modules() if isinstance(module, PRUNABLE_TYPES))
    return {name: module for name, module in modules if name not in layout.constants and layout.is_deployed(name)}


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


def stem(model: nn.Module) -> str | None:
    """Name of the first convolution, the one that sees the image; None where there is no convolution."""
    return next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)


def layer_groups(model: nn.Module) -> dict[str, str]:
    """The part each prunable layer belongs to, by layer name.

    Parts: backbone, fpn, rpn, box_head, mask_head, keypoint_head, dense_head, predictor, and those that a `Layout`
    names; `other` for a layer of a detector that is built in another way.
    """
    group: dict[int, str] = {id(module): "predictor" for module in _predictors(model)}
    for part, path in _parts(model):
        for module in _below(model, path):
            group.setdefault(id(module), part)
    return {name: group.get(id(module), "other") for name, module in prunable_modules(model).items()}


def _predictors(model: nn.Module) -> Iterator[nn.Module]:
    for path in _predictor_paths(model):
        yield from _below(model, path)
    entries = [] if layout_of(model) is not None else [DETECTORS.get(name) for name in DETECTORS]
    for path in dict.fromkeys(path for entry in entries for path in entry.prediction_blocks):
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
