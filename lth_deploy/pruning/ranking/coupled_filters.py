"""Which layers can lose whole filters, which of them together, and what is silent with a filter."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lth_deploy.detectors.channels import channel_groups
from lth_deploy.detectors.fold_norm import norms_behind
from lth_deploy.mask import Masks
from lth_deploy.pruning.scope import ScopedLayer

SIDE = 64
"""Pixels of the image on which a network shows who reads whose channels."""


def coupled_layers(model: nn.Module, layers: Sequence[ScopedLayer]) -> dict[str, tuple[str, ...]]:
    """The layers that lose the same channels, by the name of each; layers that cannot lose any are missing.

    Channels can be removed where only layers read them, where all layers that write them are among `layers`, where a
    norm between directly follows its writer, so that it is silent with it, and where activations leave them silent.
    Leaves `model` in evaluation mode.
    """
    names, behind = {layer.module_name: layer.name for layer in layers}, norms_behind(model)
    found: dict[str, tuple[str, ...]] = {}
    for group in channel_groups(model, [torch.full((3, SIDE, SIDE), 0.5)]):
        own_norms = {behind[writer] for writer in group.writers if writer in behind}
        whole = set(group.writers) <= names.keys() and set(group.norms) <= own_norms
        if group.size > 1 and group.silent and whole:
            coupled = tuple(names[writer] for writer in group.writers)
            found |= dict.fromkeys(coupled, coupled)
    return found


def with_dependents(model: nn.Module, masks: Masks) -> Masks:
    """`masks`, and those of what must be zero with a filter: its bias, and scale and shift of the norm behind it.

    Otherwise a filter without weights would still put out a constant, which padding keeps from moving into the next
    layer's bias. The names need not exist in `model`: a network whose norms are folded has biases instead.
    """
    behind, found = norms_behind(model), dict(masks)
    for name, mask in masks.items():
        module = name.removesuffix(".weight")
        if isinstance(model.get_submodule(module), nn.ConvTranspose2d):
            continue
        alive = np.asarray(mask.reshape(len(mask), -1).any(axis=1))
        norm = [f"{behind[module]}.weight", f"{behind[module]}.bias"] if module in behind else []
        if not alive.all():
            found |= dict.fromkeys([f"{module}.bias", *norm], alive)
    return found
