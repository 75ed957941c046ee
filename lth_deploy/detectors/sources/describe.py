"""What can be said of a detector of unknown structure once it is built."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_deploy.config.foreign_specs import ForeignSpec
from lth_deploy.detectors.groups import PRUNABLE_TYPES, prunable_modules
from lth_deploy.detectors.layout import layout_of, set_layout
from lth_deploy.detectors.sources.norm_trace import following_norms
from lth_deploy.errors import RecipeError

SIDE = 128
"""Side of the gray image, in pixels, on which a detector is looked at."""

_NORMS: dict[str, dict[str, str]] = {}
"""Norms behind convolutions by the description of a detector: each is built several times in a search."""


def described(model: nn.Module, spec: ForeignSpec, classes: int) -> nn.Module:
    """`model` with its norms in its `Layout`, which it has already, and with each tensor once in its state.

    Raises:
        RecipeError: it has no layer to prune, or fails on an image.
    """
    _unite_tied_layers(model)
    if not prunable_modules(model):
        types = " or ".join(kind.__name__ for kind in PRUNABLE_TYPES)
        raise RecipeError(f"the detector '{spec.name}' has no layer that can be pruned: no {types}")
    key = f"{spec.model_dump_json()} {classes}"
    if key not in _NORMS:
        _NORMS[key] = _norms(model, spec)
    layout = layout_of(model)
    assert layout is not None
    set_layout(model, replace(layout, norms=_NORMS[key]))
    _name_tensors_once(model)
    return model


def _unite_tied_layers(model: nn.Module) -> None:
    """Put one layer in the place of several that hold the same parameters, so that it has one name and one count."""
    seen: dict[tuple[object, ...], nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            held = (type(child), *(id(parameter) for parameter in child.parameters(recurse=False)))
            if isinstance(child, PRUNABLE_TYPES) and seen.setdefault(held, child) is not child:
                setattr(parent, name, seen[held])


def _name_tensors_once(model: nn.Module) -> None:
    """Let what two modules share have its first name only in states: masks know no other."""
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if first.setdefault(id(tensor), name) != name:
            tied[name] = first[id(tensor)]

    def leave_out(module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
        again = tuple(f"{prefix}{name}." for name in _second_names(module))
        for name in list(state):
            if name.startswith(again) or name.removeprefix(prefix) in tied:
                del state[name]

    def fill_in(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        for second, own in _second_names(module).items():
            held = [name for name in state if name.startswith(f"{prefix}{own}.")]
            state |= {f"{prefix}{second}{name.removeprefix(prefix + own)}": state[name] for name in held}
        state |= {prefix + name: state[prefix + own] for name, own in tied.items() if prefix + own in state}

    if tied:
        model.register_state_dict_post_hook(leave_out)  # type: ignore[no-untyped-call]
        model.register_load_state_dict_pre_hook(fill_in)  # type: ignore[no-untyped-call]


def _second_names(model: nn.Module) -> dict[str, str]:
    """The first name of each module that has several, by the others; what was added to it later counts too."""
    first: dict[int, str] = {}
    named = model.named_modules(remove_duplicate=False)
    return {name: first[id(module)] for name, module in named if first.setdefault(id(module), name) != name}


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
