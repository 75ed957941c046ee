"""A ticket from another run: what of it fits a network, as masks alone or with its weights and norm statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from lth_deploy.config.search_spec import SourceSpec
from lth_deploy.detectors.c4 import with_last_stage_at_home
from lth_deploy.detectors.groups import final_predictors, named_parts, part_of
from lth_deploy.errors import DataError, RecipeError, UsageError
from lth_deploy.mask import Masks, load_masks
from lth_deploy.pruning.scope import ScopedLayer
from lth_deploy.pruning.search.plan import level_name
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.remote.look import run_at
from lth_deploy.training.state import TrainingState

LISTED = 6


@dataclass(frozen=True)
class Ticket:
    """A finished ticket of a run. weights: everything its network ended with, norm statistics included."""

    origin: str
    masks: Masks
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Transfer:
    """What a network takes over: masks of prunable layers, tensors by name, and the layers that the source lacks."""

    masks: Masks
    tensors: dict[str, Tensor]
    missing: tuple[str, ...]


def read_ticket(source: SourceSpec, level: float) -> Ticket:
    """The ticket of the sparsity `level` in the run that a recipe names.

    Raises:
        DataError: there is no such run, or its files have changed.
        RecipeError: its channels are in an order of their own, which other networks do not have.
        StorageError: the place of the run refuses.
        UsageError: the run has no finished ticket of this level.
    """
    with run_at(source.run, [f"trials/{level_name('level', level)}/*"]) as folder:
        return _read(RunDirectory.open(folder), source, level)


def _read(run: RunDirectory, source: SourceSpec, level: float) -> Ticket:
    if run.recipe().pruning.permute != "none":
        raise RecipeError(
            f"source.run {source.run} put its channels in another order (pruning.permute), so that its tickets fit no "
            "other network; take a run without permute"
        )
    trial = run.trial(level_name("level", level))
    if not trial.finished:
        levels = [other.name for other in run.finished_trials() if other.name.startswith("level_")]
        raise UsageError(
            f"source.run {source.run} has no finished trial '{trial.name}'; it has {', '.join(levels) or 'no ticket'}: "
            "make pruning.levels levels of the source"
        )
    for file in (trial.mask, trial.weights):
        run.verify(file)
    return Ticket(f"{source.run}/{trial.name}", load_masks(trial.mask), TrainingState.load(trial.weights).model)


def fit(ticket: Ticket, model: nn.Module, layers: Sequence[ScopedLayer], source: SourceSpec) -> Transfer:
    """What `model`, of which `layers` may be pruned, takes over from `ticket`.

    Parts that only one side has, and final predictors for other classes, are left out. A part that both have fits
    as a whole or not at all. A ResNet's last stage counts where it hangs here: in the backbone, or in the box head.

    Raises:
        DataError: layers of a part differ; the message has names and shapes on both sides, and the parts that fit.
        RecipeError: the ticket prunes what the recipe leaves dense, or has no such part.
    """
    ticket = _named_as_here(ticket, model)
    ours, theirs = _by_part(model.state_dict(), model), _by_part(ticket.weights, model)
    shared = [part for part in theirs if part in ours and part not in ("predictor", "other")]
    wanted = named_parts(source.groups, set(shared), f"source.groups: {ticket.origin} and this detector share no")
    with_values = source.transfer == "ticket"
    faults = {part: _faults(theirs[part], ours[part], with_values) for part in shared}
    taken = [part for part in shared if part in wanted]
    if not taken:
        raise DataError(
            f"{ticket.origin} and this detector have no part in common: its parts are {', '.join(theirs)}, "
            f"this detector's {', '.join(ours)}"
        )
    if any(faults[part] for part in taken):
        raise DataError(_explain(ticket, taken, faults))
    names = {name for part in taken for name in theirs[part]}
    tensors = {name: ticket.weights[name] for name in names} if with_values else {}
    if with_values and not source.groups:
        tensors |= _fitting_predictors(theirs.get("predictor", {}), ours.get("predictor", {}))
    missing = tuple(layer.name for layer in layers if layer.name not in names)
    return Transfer(_masks(ticket, names, model, layers), tensors, missing)


def _named_as_here(ticket: Ticket, model: nn.Module) -> Ticket:
    own = model.state_dict().keys()
    return Ticket(
        ticket.origin, with_last_stage_at_home(ticket.masks, own), with_last_stage_at_home(ticket.weights, own)
    )


def _by_part(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, dict[str, Tensor]]:
    predictors = final_predictors(model)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.endswith("num_batches_tracked"):
            part = "predictor" if name.rpartition(".")[0] in predictors else part_of(name, model)
            parts.setdefault(part, {})[name] = tensor
    return parts


def _faults(theirs: dict[str, Tensor], ours: dict[str, Tensor], with_values: bool) -> list[str]:
    """Layers of one part that are not the same on both sides; without values only weights count."""
    names = [name for name in dict.fromkeys([*theirs, *ours]) if with_values or _is_weight(name, theirs, ours)]
    shapes = {name: tuple(_shape(side.get(name)) for side in (theirs, ours)) for name in names}
    return [f"{name} is {their} in the source and {our} here" for name, (their, our) in shapes.items() if their != our]


def _is_weight(name: str, *sides: dict[str, Tensor]) -> bool:
    return name.endswith(".weight") and any(name in side and side[name].ndim > 1 for side in sides)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"


def _explain(ticket: Ticket, taken: list[str], faults: dict[str, list[str]]) -> str:
    found = [fault for part in taken for fault in faults[part]]
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    fitting = [part for part, wrong in faults.items() if not wrong]
    remedy = (
        f"these parts fit: set source.groups: [{', '.join(fitting)}]"
        if fitting
        else "no part fits: take a source with this detector's backbone, widths and norm"
    )
    return f"{ticket.origin} does not fit: {'; '.join(found[:LISTED])}{more}; {remedy}"


def _masks(ticket: Ticket, names: set[str], model: nn.Module, layers: Sequence[ScopedLayer]) -> Masks:
    prunable = {layer.name for layer in layers}
    masks = {name: mask for name, mask in ticket.masks.items() if name in names}
    outside = [name for name, mask in masks.items() if name not in prunable and not mask.all()]
    if outside:
        raise RecipeError(
            f"{ticket.origin} prunes {', '.join(outside[:LISTED])}, which this recipe leaves dense; let its "
            "pruning.scope, groups, include and exclude, and detector.frozen_layers, admit what the source prunes"
        )
    # What the source may not prune is dense in its ticket, and here.
    return {
        layer.name: masks.get(layer.name, np.ones(model.get_parameter(layer.name).shape, np.bool_))
        for layer in layers
        if layer.name in names
    }


def _fitting_predictors(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Final predictors of a network for the same classes; a layer is taken whole or not at all."""
    fitting = {name: tensor for name, tensor in theirs.items() if name in ours and tensor.shape == ours[name].shape}
    layers = [{name for name in ours if name.rpartition(".")[0] == one.rpartition(".")[0]} for one in fitting]
    return {
        name: tensor for (name, tensor), whole in zip(fitting.items(), layers, strict=True) if whole <= fitting.keys()
    }
