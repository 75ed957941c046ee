"""A detector of the shape of small YOLOs, 3.2 million weights: blocks that split and join channels, SiLU everywhere.

Random weights, and as many channels and layers as the smallest YOLOv8 has. Its outputs, raw boxes and classes for each
level, are not decoded. The blocks are written here from the published architecture.
"""

import math
from typing import cast

import torch
from torch import nn
from torch.nn.functional import interpolate, silu

WIDTHS = (16, 32, 64, 128, 256)
"""Channels behind each halving of the image."""

_GAIN = 8.0
"""Of the variance of weights: activations neither vanish nor overflow with or without 80 % zeros."""


class Layer(nn.Module):
    """A convolution and SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        nn.init.normal_(self.conv.weight, std=math.sqrt(_GAIN / (inputs * kernel**2)))
        nn.init.zeros_(cast(nn.Parameter, self.conv.bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return silu(self.conv(x))


class Block(nn.Module):
    """Half of the channels go through bottlenecks; all that each made is joined."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.half, self.shortcut = half, shortcut
        self.first = Layer(inputs, outputs)
        pairs = (nn.Sequential(Layer(half, half, 3), Layer(half, half, 3)) for _ in range(depth))
        self.bottlenecks = nn.ModuleList(pairs)
        self.last = Layer((2 + depth) * half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        parts = list(self.first(x).split(self.half, 1))
        for bottleneck in self.bottlenecks:
            made = bottleneck(parts[-1])
            parts.append(parts[-1] + made if self.shortcut else made)
        return self.last(torch.cat(parts, 1))


class Pools(nn.Module):
    """Maxima over windows of 5, 9 and 13 pixels, joined with what they begin with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Layer(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.last = Layer(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class PyramidYolo(nn.Module):
    """A pyramid down and up again, and heads for boxes and classes on three levels.

    A network sets `up`, `again`, `mix`, `boxes` and `classes`: what is made of two levels together, twice each, layers
    of stride 2, and a head for each level.
    """

    up: nn.ModuleList
    again: nn.ModuleList
    mix: nn.ModuleList
    boxes: nn.ModuleList
    classes: nn.ModuleList

    def detected(self, fine: torch.Tensor, middle: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Boxes and classes of each level, finest first, from the levels of the backbone."""
        middle = self.up[0](torch.cat([interpolate(coarse, scale_factor=2.0), middle], 1))
        fine = self.up[1](torch.cat([interpolate(middle, scale_factor=2.0), fine], 1))
        middle = self.mix[0](torch.cat([self.again[0](fine), middle], 1))
        coarse = self.mix[1](torch.cat([self.again[1](middle), coarse], 1))
        heads = zip(self.boxes, self.classes, (fine, middle, coarse), strict=True)
        return tuple(torch.cat([boxes(x), classes(x)], 1) for boxes, classes, x in heads)


class CspYolo(PyramidYolo):
    """[N, 3, H, W] to three levels of [N, 64 + classes, H / 8, W / 8] and coarser; H and W multiples of 32."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        torch.manual_seed(0)
        stem, *rest = WIDTHS
        before = (stem, *rest[:-1])
        self.stem = Layer(3, stem, 3, 2)
        self.down = nn.ModuleList(Layer(a, b, 3, 2) for a, b in zip(before, rest, strict=True))
        self.stages = nn.ModuleList(Block(c, c, n, True) for c, n in zip(rest, (1, 2, 2, 1), strict=True))
        self.pools = Pools(rest[-1])
        _, fine, middle, coarse = rest
        self.up = nn.ModuleList([Block(coarse + middle, middle, 1, False), Block(middle + fine, fine, 1, False)])
        self.again = nn.ModuleList([Layer(fine, fine, 3, 2), Layer(middle, middle, 3, 2)])
        self.mix = nn.ModuleList([Block(fine + middle, middle, 1, False), Block(middle + coarse, coarse, 1, False)])
        self.boxes = nn.ModuleList(self._head(channels, 64) for channels in (fine, middle, coarse))
        self.classes = nn.ModuleList(self._head(channels, classes) for channels in (fine, middle, coarse))

    @staticmethod
    def _head(channels: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            Layer(channels, outputs, 3), Layer(outputs, outputs, 3), nn.Conv2d(outputs, outputs, 1, bias=True)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, 3, H, W] to boxes and classes of each level, finest first."""
        x, levels = self.stem(image), []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(down(x))
            levels.append(x)
        _, fine, middle, coarse = levels
        return self.detected(fine, middle, self.pools(coarse))
