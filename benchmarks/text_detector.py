"""A detector of text lines of the shape of PP-OCR's mobile one: depthwise layers, hard-swish, squeeze and excitation.

Random weights. Inverted residuals as those of a MobileNetV3 of half width, a pyramid whose levels are summed and then
joined at the finest one, and two transposed convolutions back to the size of the image. The blocks are written here
from the published architectures (MobileNetV3; differentiable binarization). The output is a map of probabilities.
"""

import math
from typing import cast

import torch
from torch import nn
from torch.nn.functional import interpolate

_BLOCKS = (
    # kernel, expanded, outputs, gate, stride
    (3, 8, 8, False, 1),
    (3, 32, 16, False, 2),
    (3, 40, 16, False, 1),
    (5, 40, 24, True, 2),
    (5, 64, 24, True, 1),
    (5, 64, 24, True, 1),
    (3, 120, 40, False, 2),
    (3, 104, 40, False, 1),
    (3, 96, 40, False, 1),
    (3, 240, 56, True, 1),
    (3, 336, 56, True, 1),
    (5, 336, 80, True, 2),
    (5, 480, 80, True, 1),
    (5, 480, 80, True, 1),
)
_LEVELS = (2, 5, 10, 13)
"""Blocks whose outputs are levels of the pyramid: 1/4, 1/8, 1/16 and 1/32 of the image."""

_STEM, _PYRAMID, _HEAD = 8, 96, 24

_GAIN = 3.0
"""Of the variance of weights: about what an activation takes away."""


def _layer(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
    nn.init.normal_(conv.weight, std=math.sqrt(_GAIN * groups / (inputs * kernel**2)))
    nn.init.zeros_(cast(nn.Parameter, conv.bias))
    return conv


class Gate(nn.Module):
    """Squeeze and excitation: every channel times a factor that the means of all channels decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            _layer(channels, channels // 4),
            nn.ReLU(),
            _layer(channels // 4, channels),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        return x * self.factors(x)


class Block(nn.Module):
    """1x1 to more channels, depthwise, a gate where asked, 1x1 to few channels; a shortcut where shapes are equal."""

    def __init__(self, inputs: int, kernel: int, expanded: int, outputs: int, gate: bool, stride: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            _layer(inputs, expanded),
            nn.Hardswish(),
            _layer(expanded, expanded, kernel, stride, expanded),
            nn.Hardswish(),
            *([Gate(expanded)] if gate else []),
            _layer(expanded, outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        made = self.layers(x)
        return x + made if self.shortcut else made


class TextDetector(nn.Module):
    """[N, 3, H, W] to probabilities [N, 1, H, W]; H and W multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(_layer(3, _STEM, 3, 2), nn.Hardswish())
        outputs = [block[2] for block in _BLOCKS]
        self.blocks = nn.ModuleList(
            Block(inputs, *block) for inputs, block in zip([_STEM, *outputs[:-1]], _BLOCKS, strict=True)
        )
        self.lateral = nn.ModuleList(_layer(outputs[level], _PYRAMID) for level in _LEVELS)
        self.smooth = nn.ModuleList(_layer(_PYRAMID, _PYRAMID // 4, 3) for _ in _LEVELS)
        self.head = nn.Sequential(
            _layer(_PYRAMID, _HEAD, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(_HEAD, _HEAD, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(_HEAD, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x, levels = self.stem(image), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _LEVELS:
                levels.append(x)
        summed = [lateral(x) for lateral, x in zip(self.lateral, levels, strict=True)]
        for number in reversed(range(len(summed) - 1)):
            summed[number] = summed[number] + interpolate(summed[number + 1], scale_factor=2.0)
        smooth = [layer(x) for layer, x in zip(self.smooth, summed, strict=True)]
        joined = [smooth[0], *(interpolate(x, scale_factor=2.0**i) for i, x in enumerate(smooth[1:], 1))]
        return cast(torch.Tensor, self.head(torch.cat(joined, 1)))
