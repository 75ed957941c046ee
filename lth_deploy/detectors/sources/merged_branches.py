"""One convolution in the place of two that read the same image and are added: pairs that only training needs."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lth_deploy.detectors.fold_norm import fold_norm

PAIR = "RepConvN"
"""Libreyolo's class of a 3x3 and a 1x1 convolution, each with its norm, whose sum is activated (Ding et al. 2021)."""


def merged_branches(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode in which each pair is one 3x3 convolution; `model` itself without pairs.

    A weight of it is zero where those of both are: all but the middle of a kernel are those of the 3x3 convolution.
    """
    if not any(type(module).__name__ == PAIR for module in model.modules()):
        return model
    merged = copy.deepcopy(model).eval()
    for parent in list(merged.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == PAIR and getattr(child, "bn", None) is None:
                setattr(parent, name, _one_convolution(child))
    return merged


@torch.no_grad()
def _one_convolution(pair: Any) -> nn.Module:
    folded: Any = fold_norm(pair).module
    wide, narrow = folded.conv1.conv, folded.conv2.conv
    border = wide.kernel_size[0] // 2
    made = nn.Conv2d(
        wide.in_channels,
        wide.out_channels,
        wide.kernel_size,
        wide.stride,
        wide.padding,
        groups=wide.groups,
        device=wide.weight.device,
    )
    # In double precision, so that the only rounding is the last one.
    made.weight.copy_(wide.weight.double() + F.pad(narrow.weight.double(), [border] * 4))
    assert made.bias is not None
    made.bias.copy_(wide.bias.double() + narrow.bias.double())
    return nn.Sequential(OrderedDict(conv=made, act=pair.act)).eval()
