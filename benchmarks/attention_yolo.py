"""A detector of the shape of YOLO11's smallest, 2.6 million weights: nested blocks, one of attention, separable heads.

Random weights; the blocks are written here from the published architecture. Its outputs, raw boxes and classes for each
level, are not decoded.
"""

import torch
from torch import nn

from benchmarks.csp_yolo import Layer, Pools, PyramidYolo

WIDTHS = (16, 32, 64, 128, 256)
"""Channels behind each halving of the image."""

_HEAD = 64
"""Channels of one head of attention, half of which ask and answer."""


class Bottleneck(nn.Module):
    """Two 3x3 layers with a shortcut."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Layer(channels, inner, 3), Layer(inner, channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        return x + self.layers(x)


class Nested(nn.Module):
    """Half of the channels go through two bottlenecks, and are joined with the other half."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first, self.second = Layer(channels, half), Layer(channels, half)
        self.inner = nn.Sequential(Bottleneck(half, half), Bottleneck(half, half))
        self.last = Layer(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        return self.last(torch.cat([self.inner(self.first(x)), self.second(x)], 1))


class Block(nn.Module):
    """Channels are split, one part goes through a bottleneck or a nested block, and all that was made is joined."""

    def __init__(self, inputs: int, outputs: int, part: int, nested: bool) -> None:
        super().__init__()
        self.part = part
        self.first = Layer(inputs, 2 * part)
        self.inner = Nested(part) if nested else Bottleneck(part, part // 2)
        self.last = Layer(3 * part, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        parts = list(self.first(x).split(self.part, 1))
        return self.last(torch.cat([*parts, self.inner(parts[-1])], 1))


class Attention(nn.Module):
    """Self-attention over all pixels, with a depthwise layer for their positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads, self.key = channels // _HEAD, _HEAD // 2
        self.mixed = nn.Conv2d(channels, channels + 2 * self.heads * self.key, 1)
        self.positions = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        batch, channels, height, width = x.shape
        mixed = self.mixed(x).view(batch, self.heads, 2 * self.key + _HEAD, height * width)
        query, key, value = mixed.split([self.key, self.key, _HEAD], 2)
        weights = (query.transpose(-2, -1) @ key * self.key**-0.5).softmax(-1)
        made = (value @ weights.transpose(-2, -1)).view(batch, channels, height, width)
        return self.last(made + self.positions(value.reshape(batch, channels, height, width)))


class AttentionBlock(nn.Module):
    """Half of the channels go through attention and two 1x1 layers, with shortcuts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.first, self.last = Layer(channels, channels), Layer(channels, channels)
        self.attention = Attention(self.half)
        self.feed = nn.Sequential(Layer(self.half, 2 * self.half), nn.Conv2d(2 * self.half, self.half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        kept, mixed = self.first(x).split(self.half, 1)
        mixed = mixed + self.attention(mixed)
        return self.last(torch.cat([kept, mixed + self.feed(mixed)], 1))


class AttentionYolo(PyramidYolo):
    """[N, 3, H, W] to three levels of [N, 64 + classes, H / 8, W / 8] and coarser; H and W multiples of 32."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        torch.manual_seed(0)
        stem, first, fine, middle, coarse = WIDTHS
        self.stem = nn.Sequential(Layer(3, stem, 3, 2), Layer(stem, first, 3, 2), Block(first, fine, stem // 2, False))
        self.fine = nn.Sequential(Layer(fine, fine, 3, 2), Block(fine, middle, stem, False))
        self.middle = nn.Sequential(Layer(middle, middle, 3, 2), Block(middle, middle, fine, True))
        self.coarse = nn.Sequential(
            Layer(middle, coarse, 3, 2), Block(coarse, coarse, middle, True), Pools(coarse), AttentionBlock(coarse)
        )
        self.up = nn.ModuleList([Block(coarse + middle, middle, fine, False), Block(2 * middle, fine, first, False)])
        self.again = nn.ModuleList([Layer(fine, fine, 3, 2), Layer(middle, middle, 3, 2)])
        self.mix = nn.ModuleList(
            [Block(fine + middle, middle, fine, False), Block(middle + coarse, coarse, middle, True)]
        )
        levels = (fine, middle, coarse)
        self.boxes = nn.ModuleList(
            nn.Sequential(Layer(width, 64, 3), Layer(64, 64, 3), nn.Conv2d(64, 64, 1)) for width in levels
        )
        self.classes = nn.ModuleList(self._classes(width, classes) for width in levels)

    @staticmethod
    def _classes(width: int, classes: int) -> nn.Module:
        steps = ((width, classes), (classes, classes))
        layers = [one for inputs, outputs in steps for one in (_Depthwise(inputs), Layer(inputs, outputs))]
        return nn.Sequential(*layers, nn.Conv2d(classes, classes, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, 3, H, W] to boxes and classes of each level, finest first."""
        fine = self.fine(self.stem(image))
        middle = self.middle(fine)
        return self.detected(fine, middle, self.coarse(middle))


class _Depthwise(nn.Module):
    """A depthwise 3x3 layer and SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same."""
        return nn.functional.silu(self.conv(x))
