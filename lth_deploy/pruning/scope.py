"""Scope: which parameters may be pruned. Decided by module type, never by fragments of names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import Tensor, nn

from lth_deploy.config.search_spec import PruningSpec
from lth_deploy.detectors.groups import (
    final_predictors,
    layer_groups,
    named_parts,
    prunable_modules,
    shortcuts,
    stem,
)
from lth_deploy.errors import RecipeError
from lth_deploy.pruning.layer import FloatArray, PrunableLayer

REGEX = "re:"
"""What a pattern begins with that is a regular expression, as in SparseML's recipes."""


@dataclass(frozen=True)
class ScopedLayer:
    """A parameter that may be pruned, with the module that uses it and the group it is reported under."""

    name: str
    module_name: str
    module: nn.Module
    group: str

    @property
    def transposed(self) -> bool:
        """Whether the input channels come first in the weights."""
        return isinstance(self.module, nn.ConvTranspose2d)


def layers_of(model: nn.Module, pruning: PruningSpec) -> list[ScopedLayer]:
    """The layers of `model` that a recipe lets be pruned; see `scoped_layers`."""
    return scoped_layers(model, pruning.scope, pruning.include, pruning.exclude, pruning.groups)


def ranked_layers(
    layers: Sequence[ScopedLayer],
    positions: Mapping[str, float],
    signals: Mapping[str, FloatArray] | None = None,
    coupled: Mapping[str, tuple[str, ...]] | None = None,
) -> list[PrunableLayer]:
    """Layers with their present weights, as a ranking takes them; see `PrunableLayer` for what goes with each name."""
    found = []
    for layer in layers:
        weight = layer.module.weight
        assert isinstance(weight, Tensor)
        weights = weight.detach().float().cpu().numpy()
        signal, partners = (signals or {}).get(layer.name), (coupled or {}).get(layer.name, ())
        found.append(PrunableLayer(layer.name, weights, layer.transposed, positions[layer.name], signal, partners))
    return found


def prunable_layers(model: nn.Module) -> list[ScopedLayer]:
    """Every layer that some recipe may prune, in module order."""
    groups = layer_groups(model)
    return [
        ScopedLayer(f"{name}.weight", name, module, groups[name]) for name, module in prunable_modules(model).items()
    ]


def scoped_layers(
    model: nn.Module,
    scope: Literal["default", "paper"],
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    parts: Sequence[str] = (),
) -> list[ScopedLayer]:
    """The prunable layers of a detector, in module order.

    `default` leaves out final predictors, and the first convolution where it is frozen. `paper` is the set of
    Girish et al. 2021: 1x1 shortcuts stay dense too, and the first convolution is pruned even where frozen.
    `include` and `exclude` are globs over module names, or `re:` and
    a regular expression over names of weights. `parts`, where given, are the groups of `layer_groups` that
    are pruned; `head` stands for all heads, and final predictors are among the layers only where `predictor` is named.

    Raises:
        RecipeError: a glob or a part matches no layer, or nothing is left to prune.
    """
    modules = prunable_modules(model)
    _check_globs([*include, *exclude], list(modules), "pruning")
    groups = layer_groups(model)
    wanted = named_parts(parts, set(groups.values()), "pruning.groups: this detector has no")
    left_out = set() if "predictor" in parts else set(final_predictors(model))
    if scope == "paper":
        left_out |= set(shortcuts(model))
    elif (first := stem(model)) is not None and not modules[first].weight.requires_grad:
        left_out.add(first)
    layers = [
        layer
        for layer in prunable_layers(model)
        if layer.module_name not in left_out
        and layer.group in wanted
        and _matches(layer.module_name, include)
        and not _matches(layer.module_name, exclude)
    ]
    if not layers:
        raise RecipeError("pruning.groups, include and exclude leave no layer to prune")
    return layers


def quantized_layers(model: nn.Module, keep_float: Sequence[str]) -> list[str]:
    """Names of the layers that fine-tuning quantizes: those that no glob matches, but for transposed ones in groups.

    Raises:
        RecipeError: a glob matches no layer.
    """
    modules = prunable_modules(model)
    _check_globs(keep_float, list(modules), "quantization.float_layers")
    # ONNX has one scale for each output channel of a group, which the groups of a transposed convolution would share.
    grouped = {name for name, module in modules.items() if isinstance(module, nn.ConvTranspose2d) and module.groups > 1}
    return [name for name in modules if name not in grouped and not _matches(name, keep_float)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    """Whether a glob fits the name of a layer, or a regular expression (`re:...`) the begin of its weights' name."""
    if pattern.startswith(REGEX):
        return re.match(pattern.removeprefix(REGEX), f"{name}.weight") is not None
    return fnmatchcase(name, pattern)


def _check_globs(globs: Sequence[str], names: list[str], section: str) -> None:
    for glob in globs:
        try:
            fits = any(_fits(name, glob) for name in names)
        except re.error as error:
            raise RecipeError(f"{section}: '{glob}' is no regular expression: {error}") from error
        if not fits:
            shown = ", ".join(names[:6])
            raise RecipeError(f"{section}: the pattern '{glob}' matches no layer; layers are called {shown}, ...")
