"""A trained detector of detectron2 on torchvision's modules: the same function, without detectron2.

What changes a prediction without changing a shape travels with it: order of the channels, mean and deviation of the
pixels, the place of strides, frozen norms, where anchors stand and how regions are sampled. What the checkpoint says of
these itself is compared with the configuration.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lth_deploy.detectors.detectron2.anchors import StrideAnchors
from lth_deploy.detectors.detectron2.checkpoint import read_checkpoint
from lth_deploy.detectors.detectron2.names import first_level, is_left_out, renamed
from lth_deploy.detectors.detectron2.network import build
from lth_deploy.detectors.detectron2.settings import Settings, read_settings
from lth_deploy.errors import DataError

LISTED = 8
STEM = "backbone.body.conv1.weight"
BOX_DELTAS, CLASS_SCORES = "roi_heads.box_predictor.bbox_pred", "roi_heads.box_predictor.cls_score"
MASKS = "roi_heads.mask_predictor.mask_fcn_logits"
State = dict[str, Tensor]


@dataclass(frozen=True)
class Converted:
    """model: in evaluation mode; takes images float32 [3, H, W] RGB in 0..1, and finds labels 1..classes."""

    model: nn.Module
    settings: Settings


def convert(config: Path, weights: Path) -> Converted:
    """The detector of a YAML configuration and a checkpoint, `.pth` or `.pkl`.

    Raises:
        DataError: a file cannot be read, or the two do not go together: tensors are missing, have no place or another
            shape, or the checkpoint has other pixel means or anchors than the configuration.
    """
    settings = read_settings(config)
    model = build(settings)
    state = read_checkpoint(weights)
    _check_computed(model, state, settings, weights)
    load(model, state, settings, str(weights))
    return Converted(model, settings)


def load(model: nn.Module, state: Mapping[str, Tensor], settings: Settings, origin: str) -> None:
    """Fill a model of `build` with the tensors of a checkpoint, by detectron2's names.

    Raises:
        DataError: a tensor is missing, has no place or another shape.
    """
    level = first_level(settings.family)
    kept = {name: value for name, value in state.items() if not is_left_out(name)}
    names = {name: renamed(name, level) for name in kept}
    own = {name for name in model.state_dict() if not is_left_out(name)}
    missing = sorted(own - set(names.values()))
    strangers = sorted(name for name, other in names.items() if other not in own)
    if missing or strangers:
        raise DataError(_misfit(origin, missing, strangers, own))
    converted = {other: kept[name].float() for name, other in names.items() if other is not None}
    _as_torchvision(converted, settings)
    shapes = model.state_dict()
    wrong = [
        f"{name} has {tuple(value.shape)}, the configuration {tuple(shapes[name].shape)}"
        for name, value in converted.items()
        if value.shape != shapes[name].shape
    ]
    if wrong:
        raise DataError(
            f"{origin}: shapes differ from the configuration's (as torchvision has them): {_listed(wrong)}; "
            "give the configuration that the checkpoint was trained with"
        )
    model.load_state_dict(converted, strict=False)


def _as_torchvision(state: State, settings: Settings) -> None:
    """Change the order and number of channels where the two libraries count otherwise."""
    if settings.image.order == "BGR":
        state[STEM] = state[STEM].flip(1)
    if settings.family == "retinanet":
        return
    for end in ("weight", "bias"):
        scores = state[f"{CLASS_SCORES}.{end}"]
        # The background is the last class there and the first one here.
        state[f"{CLASS_SCORES}.{end}"] = torch.cat([scores[-1:], scores[:-1]])
        deltas = state[f"{BOX_DELTAS}.{end}"]
        copies = [deltas] * settings.classes if settings.boxes_without_class else [deltas]
        state[f"{BOX_DELTAS}.{end}"] = torch.cat([torch.zeros_like(deltas[:4]), *copies])
        if settings.family == "mask_rcnn":
            masks = state[f"{MASKS}.{end}"]
            copies = [masks] * settings.classes if settings.masks_without_class else [masks]
            state[f"{MASKS}.{end}"] = torch.cat([torch.zeros_like(masks[:1]), *copies])


def _check_computed(model: nn.Module, state: Mapping[str, Tensor], settings: Settings, weights: Path) -> None:
    """Hold what the checkpoint repeats of its configuration to the one that is given."""
    for name, key, values in (
        ("pixel_mean", "MODEL.PIXEL_MEAN", settings.image.mean),
        ("pixel_std", "MODEL.PIXEL_STD", settings.image.std),
    ):
        found = [round(float(value), 3) for value in state.get(name, torch.tensor([])).flatten()]
        if found and found != [round(value, 3) for value in values]:
            raise DataError(
                f"{weights}: was trained with {key} {found}, and the configuration has {list(values)}; "
                "give the configuration that it was trained with"
            )
    anchors = next(module for module in model.modules() if isinstance(module, StrideAnchors))
    for level, own in enumerate(anchors.cell_anchors):
        for name, value in state.items():
            if name.endswith(f"anchor_generator.cell_anchors.{level}") and not _close(value, own):
                raise DataError(
                    f"{weights}: has other anchors at level {level} than MODEL.ANCHOR_GENERATOR of the configuration; "
                    "give the configuration that it was trained with"
                )


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other, rtol=0, atol=0.1)


def _misfit(origin: str, missing: list[str], strangers: list[str], own: set[str]) -> str:
    parts = []
    if missing:
        parts.append(f"the checkpoint lacks what torchvision calls {_listed(missing)}")
    if strangers:
        near = [f"{name}{_nearest(name, own)}" for name in strangers]
        parts.append(f"the configuration has no place for {_listed(near)}")
    return f"{origin}: {'; '.join(parts)}; give the configuration that the checkpoint was trained with"


def _nearest(name: str, own: set[str]) -> str:
    found = difflib.get_close_matches(name, own, 1, cutoff=0.7)
    return f" (nearest: {found[0]})" if found else ""


def _listed(items: list[str]) -> str:
    rest = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return f"{', '.join(items[:LISTED])}{rest}"
