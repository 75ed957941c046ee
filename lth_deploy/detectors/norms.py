"""The three kinds of normalization that a recipe can ask for, and freezing parts of a network."""

import math
from collections.abc import Callable, Iterable

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

NormLayer = Callable[[int], nn.Module]


def norm_layer(kind: str, *, eps: float = 1e-5, momentum: float = 0.1) -> NormLayer:
    """A constructor: channels to a normalization module.

    `batch` trains scale, shift and running statistics; `frozen` holds all of them fixed; `group` normalizes
    over groups of channels of one image and has no statistics, so it can never be folded into a
    convolution.
    """
    if kind == "batch":
        return lambda channels: nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    if kind == "frozen":
        return lambda channels: FrozenBatchNorm2d(channels, eps=eps)
    if kind == "group":
        return lambda channels: nn.GroupNorm(groups(channels), channels, eps=eps)
    raise ValueError(f"norm kind '{kind}'")  # the recipe's type admits no other


def groups(channels: int) -> int:
    """How many groups: 32 as Wu and He (2018) do, halved until each has at least four channels.

    A group of one channel would erase that channel on feature maps of a single cell.
    """
    count = math.gcd(32, channels)
    while count > 1 and channels < 4 * count:
        count //= 2
    return count


def freeze_children(parent: nn.Module, names: Iterable[str]) -> None:
    """Stop the direct children `names` of `parent`, and everything below, from learning.

    Batch norm is replaced by its frozen form: in training mode it would go on updating its statistics.
    """
    for name in names:
        child = parent.get_submodule(name)
        for parameter in child.parameters():
            parameter.requires_grad_(False)
        if isinstance(child, nn.BatchNorm2d):
            setattr(parent, name, _frozen(child))
        else:
            freeze_children(child, [inner for inner, _ in child.named_children()])


def _frozen(norm: nn.BatchNorm2d) -> nn.Module:
    frozen: nn.Module = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    frozen.load_state_dict(norm.state_dict())
    return frozen
