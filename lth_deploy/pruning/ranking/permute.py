"""Bringing channels that look alike next to each other, so that the blocks of a structure lose less.

A block of inputs falls or stays as a whole: it should hold channels that the next layers need in the same places. The
order of channels is free where all that writes and reads them follows: the network in another order computes the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_deploy.detectors.channels import ChannelGroup, channel_groups
from lth_deploy.training.state import TrainingState

Order = dict[str, list[tuple[int, Tensor]]]
"""Name of a tensor to its axes that change, each with the old places of its channels in their new order."""


def similarity_order(model: nn.Module, images: Sequence[Tensor], block: int) -> Order:
    """An order of all free channels of `model` in which runs of `block` look alike; leaves it in evaluation mode."""
    order: Order = {}
    for group in channel_groups(model, images):
        if group.joined:
            continue
        places = _alike(_signatures(model, group), block)
        for name, axis in group.axes(model):
            order.setdefault(name, []).append((axis, places))
    return order


def reordered(state: TrainingState, order: Mapping[str, Sequence[tuple[int, Tensor]]]) -> TrainingState:
    """`state` with its channels in another order, optimizer and memory too; tensors that keep theirs are shared."""
    model = {name: _taken(tensor, order.get(name, ())) for name, tensor in state.model.items()}
    optimizer = {
        key: _taken(tensor, order.get(key.rsplit("|", 1)[0], ())) if tensor.ndim else tensor
        for key, tensor in state.optimizer.items()
    }
    memory = {key: _taken(tensor, order.get(key.partition("|")[2], ())) for key, tensor in state.memory.items()}
    return replace(state, model=model, optimizer=optimizer, memory=memory)


@torch.no_grad()
def _signatures(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Magnitudes that the readers of a group multiply each channel by, float32 [channels, n]; layers weigh alike."""
    parts = []
    for layer in group.readers:
        weight = model.get_parameter(f"{layer}.weight").float().cpu().abs()
        part = weight.transpose(0, 1).reshape(group.size, -1)
        parts.append(part / part.norm().clamp(min=1e-12))
    return torch.cat(parts, 1)


def _alike(signatures: Tensor, block: int) -> Tensor:
    """Greedily: the heaviest channel that is left, then those that resemble it most, int64 [channels]."""
    weight = signatures.norm(dim=1)
    unit = signatures / weight.clamp(min=1e-12)[:, None]
    likeness = unit @ unit.T
    free = torch.ones(len(weight), dtype=torch.bool)
    places: list[int] = []
    while len(places) < len(weight):
        seed = int(torch.where(free, weight, -1.0).argmax())
        free[seed] = False
        near = torch.where(free, likeness[seed], -torch.inf).argsort(descending=True, stable=True)
        chosen = near[: min(block - 1, int(free.sum()))]
        free[chosen] = False
        places += [seed, *chosen.tolist()]
    return torch.tensor(places)


def _taken(tensor: Tensor, axes: Sequence[tuple[int, Tensor]]) -> Tensor:
    for axis, places in axes:
        tensor = tensor.index_select(axis, places)
    return tensor
