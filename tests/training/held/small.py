"""A network of a hundred weights with masks, a loss, and a plain loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from torch import nn  # noqa: E402


def network(seed: int = 0) -> nn.Module:
    """A convolution, a norm and two fully connected layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 2)
        )


def masks_for(model: nn.Module, seed: int = 0) -> dict[str, Any]:
    """About half of the weights of each layer, at random."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(tuple(parameter.shape)) < 0.5
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
    }


def batch(step: int) -> tuple[Any, Any]:
    """Inputs and answers of one step."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(3, 2, 4, 4, generator=generator), torch.randn(3, 2, generator=generator)


def loss_of(model: nn.Module, step: int) -> Any:
    """The squared error of one step."""
    inputs, answers = batch(step)
    return ((model(inputs) - answers) ** 2).mean()


def train(
    model: nn.Module, optimizer: Any, steps: range, clip: float | None = None, loss: Callable[..., Any] = loss_of
) -> None:
    """A plain loop."""
    for step in steps:
        optimizer.zero_grad()
        loss(model, step).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def require_zeros(model: nn.Module, masks: dict[str, Any]) -> None:
    """Every pruned weight has the bits of +0.0, and the others have learned something else."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        weights = parameters[name].detach().float().cpu().numpy()
        assert not np.ascontiguousarray(weights[~mask]).view(np.uint32).any(), name
        assert np.count_nonzero(weights[mask]) > 0.9 * np.count_nonzero(mask), name
