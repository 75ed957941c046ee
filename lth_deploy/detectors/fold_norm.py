"""Folding normalization with fixed statistics into the convolution before it."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.detectors.layout import Layout, layout_of

FOLDABLE = (nn.BatchNorm2d, FrozenBatchNorm2d)
NORMS = (*FOLDABLE, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


@dataclass(frozen=True)
class FoldedModel:
    """A copy of a model in evaluation mode, and the normalization that stayed in it."""

    module: nn.Module
    folded: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    """Name and reason of each normalization that could not be folded."""


def fold_norm(module: nn.Module) -> FoldedModel:
    """Fold every batch norm, trained or frozen, that directly follows a convolution.

    "Follows" means: the next child of the same parent with as many channels, which holds for the residual
    blocks and conv-norm-activation sequences of torchvision. A detector with a `Layout` names its norms. Weights
    that are exactly zero stay exactly zero, because each output channel is only scaled. What was trained stays
    trainable. `module` itself is not touched.
    """
    folded_module = copy.deepcopy(module).eval()
    folded = []
    for conv_name, norm_name in norms_behind(folded_module).items():
        conv, norm = folded_module.get_submodule(conv_name), folded_module.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        _fold(conv, norm)
        parent, _, child = norm_name.rpartition(".")
        setattr(folded_module.get_submodule(parent), child, nn.Identity())
        folded.append(norm_name)
    layout = layout_of(module) or Layout()
    norms = [(name, norm) for name, norm in folded_module.named_modules() if isinstance(norm, NORMS)]
    kept = tuple((name, _reason(norm)) for name, norm in norms if layout.is_deployed(name))
    return FoldedModel(folded_module, tuple(folded), kept)


def norms_behind(module: nn.Module) -> dict[str, str]:
    """Name of the batch norm that directly follows a convolution, by the convolution's name; see `fold_norm`."""
    layout = layout_of(module)
    if layout is not None:
        held = dict(module.named_modules())
        return {conv: norm for conv, norm in layout.norms.items() if isinstance(held.get(norm), FOLDABLE)}
    return {
        f"{name}.{conv}".lstrip("."): f"{name}.{norm}".lstrip(".")
        for name, parent in module.named_modules()
        for conv, norm in _pairs(parent)
    }


def _pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    children = list(parent.named_children())
    for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, FOLDABLE):
            continue
        variance = _statistics(norm)
        if variance is not None and variance.numel() == conv.out_channels:
            yield conv_name, norm_name


def _statistics(norm: nn.Module) -> Tensor | None:
    found = getattr(norm, "running_var", None)
    return found if isinstance(found, Tensor) else None


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    # In double precision, so that the only rounding is the last one.
    mean, variance = (_double(norm, name) for name in ("running_mean", "running_var"))
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + float(getattr(norm, "eps", 0.0)))
    gamma, beta = _double(norm, "weight"), _double(norm, "bias")
    if gamma is not None:
        scale = scale * gamma
    shift = -mean if conv.bias is None else conv.bias.double() - mean
    bias = shift * scale if beta is None else shift * scale + beta
    # Adding zero turns the -0.0 of a pruned weight under a negative scale into 0.0.
    weight = conv.weight.double() * scale[:, None, None, None] + 0.0
    trained = conv.weight.requires_grad
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=trained)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=trained)


def _double(norm: nn.Module, name: str) -> Tensor | None:
    value = getattr(norm, name)
    return None if value is None else value.detach().double()


def _reason(norm: nn.Module) -> str:
    if not isinstance(norm, FOLDABLE):
        return f"{type(norm).__name__} takes its statistics from each image, so it stays a layer of its own"
    if _statistics(norm) is None:
        return "batch norm without running statistics"
    return "no convolution of as many channels comes directly before it"
