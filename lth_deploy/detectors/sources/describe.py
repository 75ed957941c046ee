"""What can be said of a detector of unknown structure once it is built."""

from dataclasses import replace

import torch
from torch import nn

from lth_deploy.config.detector_spec import ForeignSpec
from lth_deploy.detectors.groups import PRUNABLE_TYPES, prunable_modules
from lth_deploy.detectors.layout import layout_of, set_layout
from lth_deploy.detectors.sources.norm_trace import following_norms
from lth_deploy.errors import RecipeError

SIDE = 128
"""Side of the gray image, in pixels, on which a detector is looked at."""

_NORMS: dict[str, dict[str, str]] = {}
"""Norms behind convolutions by the description of a detector: each is built several times in a search."""


def described(model: nn.Module, spec: ForeignSpec, classes: int) -> nn.Module:
    """`model` with its norms in its `Layout`, which it has already.

    Raises:
        RecipeError: it has no layer to prune, or fails on an image.
    """
    if not prunable_modules(model):
        types = " or ".join(kind.__name__ for kind in PRUNABLE_TYPES)
        raise RecipeError(f"the detector '{spec.name}' has no layer that can be pruned: no {types}")
    key = f"{spec.model_dump_json()} {classes}"
    if key not in _NORMS:
        _NORMS[key] = _norms(model, spec)
    layout = layout_of(model)
    assert layout is not None
    set_layout(model, replace(layout, norms=_NORMS[key]))
    return model


def _norms(model: nn.Module, spec: ForeignSpec) -> dict[str, str]:
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            return following_norms(model, lambda: model([torch.full((3, SIDE, SIDE), 0.5, device=device)]))
    except Exception as error:  # the detector is another package's, or the user's own
        raise RecipeError(
            f"the detector '{spec.name}' fails in evaluation mode on a list of one image, float32 [3, {SIDE}, {SIDE}] "
            f"in 0..1: {type(error).__name__}: {error}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
