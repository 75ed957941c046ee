"""The detector that a finished trial of a run ended with, and what it learned of quantization."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import DataError
from lth_deploy.run.directory import Trial

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.compiler.quantization.learned_ranges import Learned
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.training.state import TrainingState


def trained_model(recipe: Recipe, trial: Trial, dataset: "CocoDataset", *, rounding: bool = False) -> "nn.Module":
    """The detector in evaluation mode; `rounding`: with fake quantization if it was trained so.

    Raises:
        DataError: the trial's files have changed, or do not belong together.
    """
    from lth_deploy.training.quantization import restored
    from lth_deploy.workflow.search.find_ticket import build_model

    model = build_model(recipe, dataset, recipe.training.seed, pretrained=False)
    return restored(model, _state(trial), rounding=rounding).eval()


def learned_grids(trial: Trial, names: Mapping[str, str] | None = None) -> "Learned | None":
    """The layers and grids of a trial that was trained with fake quantization; None for other trials.

    names: what other names layers get.

    Raises:
        DataError: the trial's files have changed, or do not belong together.
    """
    from lth_deploy.compiler.quantization.learned_ranges import Learned
    from lth_deploy.training.ranges import calls_in, grids_in

    tensors = _state(trial).model
    layers = calls_in(tensors)
    grids: dict[tuple[str, str, int], tuple[float, int]] = {}
    others = names or {}
    for site, grid in grids_in(tensors).items():
        grids[others.get(site.layer, site.layer), site.side, site.call] = grid
    return Learned([others.get(layer, layer) for layer in layers], grids) if layers else None


def _state(trial: Trial) -> "TrainingState":
    from lth_deploy.mask import load_masks
    from lth_deploy.training.state import TrainingState

    trial.run.verify(trial.weights)
    state = TrainingState.load(trial.weights)
    if trial.run.is_committed(trial.mask):
        trial.run.verify(trial.mask)
        for name, mask in load_masks(trial.mask).items():
            if bool((state.model[name].numpy()[~mask] != 0).any()):
                raise DataError(f"{trial.weights}: '{name}' has weights where its mask has none; the run is damaged")
    return state
