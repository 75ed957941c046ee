"""A toy network without randomness, and batches of it that ranks divide."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tests.pruning.toy_search import ToyDetector

STEPS, IMAGES = 6, 4


class QuietDetector(ToyDetector):
    """The loss is a mean over images, so that the mean over equal shares is that of the whole batch."""

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        answer = super().forward(images)
        if targets is None:
            return answer
        wanted = torch.stack([target["answer"] for target in targets])
        return {"fit": ((answer - wanted) ** 2).mean(), "size": answer.square().mean() * 0.1}


def quiet(seed: int) -> Any:
    """A fresh network."""
    torch.manual_seed(seed)
    return QuietDetector()


class SharedBatches:
    """Batches of four images by step, or the share of one rank of them."""

    def __init__(self, own: slice = slice(None)) -> None:
        self._own = own

    def batch(self, step: int) -> Any:
        """The images of a step."""
        generator = torch.Generator().manual_seed(step)
        images = [torch.rand(3, 6, 6, generator=generator) for _ in range(IMAGES)]
        targets = [{"answer": torch.rand(3, generator=generator)} for _ in images]
        return images[self._own], targets[self._own]

    def part(self, rank: int, ranks: int) -> "SharedBatches":
        """The share of one rank."""
        share = IMAGES // ranks
        return SharedBatches(slice(rank * share, (rank + 1) * share))

    def close(self) -> None:
        """Nothing to close."""


def toy_masks(model: Any) -> dict[str, Tensor]:
    """Masks of all weights."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(parameter.shape, generator=generator) < 0.6
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
    }


def thinned(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks that keep every other of the weights that `masks` keep."""
    return {name: mask & (torch.arange(mask.numel()).reshape(mask.shape) % 2 == 0) for name, mask in masks.items()}


def norm_case() -> tuple[Any, Tensor, Tensor]:
    """A norm, values [4, 3, 5, 5] far from zero, and the gradient of its result."""
    generator = torch.Generator().manual_seed(7)
    norm = torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.5, -1.0]))
        norm.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    values = 30 + torch.randn(4, 3, 5, 5, generator=generator) * torch.tensor([1.0, 2.0, 0.1, 3.0]).reshape(4, 1, 1, 1)
    return norm, values, torch.randn(4, 3, 5, 5, generator=generator)
