"""States of detectron2's own modules: from its checkpoints, and to torchvision's modules for the export."""

from pathlib import Path

import torch
from torch import Tensor

from lth_deploy.detectors.detectron2.checkpoint import read_checkpoint
from lth_deploy.detectors.detectron2.convert import load
from lth_deploy.detectors.detectron2.names import first_level, is_left_out, renamed
from lth_deploy.detectors.detectron2.network import build
from lth_deploy.detectors.detectron2.own_modules import OwnModules
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.groups import prunable_modules
from lth_deploy.detectors.sources.source import Deployed

PREFIX = "network."


def checkpoint_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names that they have in `OwnModules`; averages over steps begin anew.

    Raises:
        DataError: see `read_checkpoint`.
    """
    state = {f"{PREFIX}{name}": value for name, value in read_checkpoint(path).items() if not is_left_out(name)}
    return state | {"normalizer": torch.zeros((), dtype=torch.float64)}


def as_torchvision(model: OwnModules) -> Deployed:
    """The same detector on torchvision's modules, in evaluation mode; its norms are folded where those of `model` are.

    Raises:
        DataError: a tensor has no place there.
    """
    settings = model.settings
    state = {name.removeprefix(PREFIX): value for name, value in model.state_dict().items() if name.startswith(PREFIX)}
    converted = build(settings)
    if not any(".norm." in name for name in state):
        converted = fold_norm(converted).module
    load(converted, state, settings, "the trained detector")
    level = first_level(settings.family)
    names = {}
    for layer in prunable_modules(model):
        weight = renamed(f"{layer.removeprefix(PREFIX)}.weight", level)
        if weight is not None:
            names[layer] = weight.removesuffix(".weight")
    return Deployed(converted, names)
