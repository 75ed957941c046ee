"""Detectors of which whole filters are pruned, as a search leaves them, without a search."""

from typing import Any

import numpy as np
import torch

from lth_deploy.mask import Masks
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.allocation import prune
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers, with_dependents
from lth_deploy.pruning.ranking.criteria import CRITERIA
from lth_deploy.pruning.scope import scoped_layers
from lth_deploy.structures import STRUCTURES
from lth_deploy.training.state import TrainingState


def prune_filters(model: Any, share: float) -> Masks:
    """Prune a share of the weights that can go with whole filters from `model`; gives the masks of all layers."""
    scoped = scoped_layers(model, "default")
    coupled = coupled_layers(model, scoped)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    layers = [
        PrunableLayer(one.name, weights[one.name], one.transposed, 1.0, None, coupled.get(one.name, ()))
        for one in scoped
    ]
    free = sum(one.weights.size for one in layers if one.coupled) / sum(one.weights.size for one in layers)
    whole = {one.name: np.ones(one.weights.shape, np.bool_) for one in layers}
    masks = prune(layers, whole, share * free, CRITERIA.get("magnitude"), "per_layer", STRUCTURES["filter"])
    held = {name: torch.from_numpy(mask) for name, mask in with_dependents(model, masks).items()}
    TrainingState.capture(0, model).masked(held).restore(model)
    return masks


def pruned_counts(masks: Masks) -> dict[str, tuple[int, int]]:
    """How many filters of how many each layer lost, of those that lost some."""
    pruned = {name: (int((~mask.reshape(len(mask), -1).any(1)).sum()), len(mask)) for name, mask in masks.items()}
    return {name: counts for name, counts in pruned.items() if counts[0]}
