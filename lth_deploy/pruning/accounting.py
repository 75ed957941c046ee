"""How many weights each part of a network has, may lose and has lost: the columns of Girish et al. 2021."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from lth_deploy.config.search_spec import PruningSpec
from lth_deploy.detectors.groups import layer_groups
from lth_deploy.detectors.layout import Layout, layout_of
from lth_deploy.errors import RecipeError
from lth_deploy.pruning.ranking.budget import at_most
from lth_deploy.pruning.scope import ScopedLayer
from lth_deploy.reconstruction.obs import SHARES
from lth_deploy.run.summary import PartSummary

# What table 3 of the paper calls the parts. There it is a network in layout c4, whose box head is the last stage; with
# a pyramid the heads before the predictors take that place.
PAPER_PARTS = {
    "backbone": "Base",
    "fpn": "Base",
    "box_head": "Top",
    "mask_head": "Top",
    "keypoint_head": "Top",
    "dense_head": "Top",
    "rpn": "RPN",
    "predictor": "Head",
}


def parameters(model: nn.Module) -> int:
    """All parameters that detections depend on; statistics of norms are none, and neither is a frozen norm's scale."""
    layout = layout_of(model) or Layout()
    return sum(parameter.numel() for name, parameter in model.named_parameters() if layout.is_deployed(name))


def parts_of(
    model: nn.Module, layers: Sequence[ScopedLayer], masks: Mapping[str, npt.NDArray[np.bool_]]
) -> list[PartSummary]:
    """The parts of `model` in its order; `layers` may be pruned, of which `masks` are left."""
    groups = layer_groups(model)
    prunable = {layer.module_name for layer in layers}
    parts = []
    for group in dict.fromkeys(groups.values()):
        names = [name for name in groups if groups[name] == group]
        sizes = {name: model.get_parameter(f"{name}.weight").numel() for name in names}
        zeros = [np.count_nonzero(~masks[f"{name}.weight"]) for name in names if f"{name}.weight" in masks]
        parts.append(
            PartSummary(
                name=group,
                paper=PAPER_PARTS.get(group, ""),
                weights=sum(sizes.values()),
                prunable=sum(size for name, size in sizes.items() if name in prunable),
                zeros=int(sum(zeros)),
            )
        )
    return parts


def prunable_share(level: float, pruning: PruningSpec, model: nn.Module, layers: Sequence[ScopedLayer]) -> float:
    """`level` as a share of the prunable weights, whatever the recipe means it to be a share of.

    Raises:
        RecipeError: no mask reaches it; the message has the most that can be reached.
    """
    prunable = sum(model.get_parameter(layer.name).numel() for layer in layers)
    whole = parameters(model) if pruning.share_of == "all" else prunable
    most, because = prunable - 1, "leaves nothing to train"
    if pruning.schedule == "post_training":
        most = round(SHARES[-1] * prunable)
        because = f"is too much for reconstruction, which leaves each layer {1 - SHARES[-1]:.0%} of its weights"
    if pruning.allocation != "macs" and round(level * whole) > most:
        held = f"; {whole - prunable:,} of {whole:,} parameters are frozen, excluded or no weights" * (whole > prunable)
        raise RecipeError(
            f"pruning.levels: a sparsity of {level:.12g} of {pruning.share_of} weights {because}{held}: "
            f"the most that can be reached is {at_most(most / whole)}"
        )
    return level * whole / prunable
