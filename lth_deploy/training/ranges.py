"""Ranges of activations, kept as buffers of the layers that read or write them, so that checkpoints hold them.

A layer that runs several times in one pass (a head on a pyramid) has one range for each call. `input_range` and
`output_range` are float32 [calls, 2], smallest and largest value; an unknown range is infinity and its negative.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lth_deploy.training.fake_quantize import activation_grids
from lth_deploy.training.ranks.process_group import current_ranks

Side = Literal["input", "output"]
SIDES: tuple[Side, ...] = ("input", "output")
MOMENTUM = 0.95
"""Share of a range that stays when a batch is observed."""


class Site(NamedTuple):
    """One tensor of a pass: the input of the `call`-th run of `layer`, or its output after the activation."""

    layer: str
    side: Side
    call: int


def buffer_name(side: Side) -> str:
    """The name under which a layer keeps the ranges of one side."""
    return f"{side}_range"


def add_ranges(model: nn.Module, calls: Mapping[str, int]) -> None:
    """Give the layers named in `calls` ranges, none of them known, for so many runs in a pass."""
    for name, count in calls.items():
        layer = model.get_submodule(name)
        device = next(layer.parameters()).device
        for side in SIDES:
            unknown = torch.tensor([[torch.inf, -torch.inf]], device=device).repeat(count, 1)
            layer.register_buffer(buffer_name(side), unknown)


def rows_of(model: nn.Module, calls: Mapping[str, int]) -> dict[Site, Tensor]:
    """The ranges [2] of the layers named in `calls`, as views of their buffers."""
    return {
        Site(name, side, call): model.get_submodule(name).get_buffer(buffer_name(side))[call]
        for name, count in calls.items()
        for side in SIDES
        for call in range(count)
    }


@torch.no_grad()
def extent_of(values: Tensor) -> Tensor:
    """Smallest and largest of `values`, float32 [2]; infinity and its negative where there are none."""
    if values.numel():
        return torch.stack(torch.aminmax(values.detach().float()))
    return torch.tensor([torch.inf, -torch.inf], device=values.device)


@torch.no_grad()
def joined_extents(seen: Sequence[Tensor | None], like: Tensor) -> Sequence[Tensor]:
    """The extents [2] that a pass has seen, None where it saw nothing; in a step that ranks share, those of all."""
    unseen = torch.tensor([torch.inf, -torch.inf], device=like.device)
    extents = [unseen if extent is None else extent for extent in seen]
    ranks = current_ranks()
    if not (ranks.shared and ranks.working):
        return extents
    low, high = torch.stack(extents).unbind(1)
    edges = torch.stack([-low, high])
    torch.distributed.all_reduce(edges, torch.distributed.ReduceOp.MAX)
    return torch.stack([-edges[0], edges[1]], dim=1).unbind()


@torch.no_grad()
def observe(extent: Tensor, seen: Tensor) -> None:
    """Move the range `extent` [2], in place, towards `seen`; the first values are taken as they are."""
    moved = torch.where(extent.isinf(), seen, MOMENTUM * extent + (1 - MOMENTUM) * seen)
    extent.copy_(torch.where(seen[0] > seen[1], extent, moved))


def grids_in(state: Mapping[str, Tensor]) -> dict[Site, tuple[float, int]]:
    """Scale and zero point of every known range among the tensors of a saved model, by site."""
    extents = {
        Site(layer, side, call): row
        for side in SIDES
        for layer, rows in _tensors_of(state, side).items()
        for call, row in enumerate(rows)
        if row[0] <= row[1]
    }
    if not extents:
        return {}
    scales, zeros = activation_grids(torch.stack(list(extents.values())))
    return {
        site: (scale, int(zero)) for site, scale, zero in zip(extents, scales.tolist(), zeros.tolist(), strict=True)
    }


def without_ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a saved model but for its ranges."""
    last = tuple(f".{buffer_name(side)}" for side in SIDES)
    return {name: tensor for name, tensor in state.items() if not name.endswith(last)}


def calls_in(state: Mapping[str, Tensor]) -> dict[str, int]:
    """How often each layer with ranges runs in a pass, from the tensors of a saved model."""
    return {layer: len(rows) for layer, rows in _tensors_of(state, "input").items()}


def count_calls(model: nn.Module, layers: Iterable[str], run: Callable[[], object]) -> dict[str, int]:
    """How often each of `layers` runs while `run` does; those that never run are left out.

    So are fully connected layers that read tokens, [N, T, C]: an exported graph multiplies by their turned weights, and
    adds the bias afterwards, which no INT8 layer of the file stands for.
    """
    counts, on_tokens = dict.fromkeys(layers, 0), set()

    def counter(name: str) -> Callable[..., None]:
        def count(layer: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
            counts[name] += 1
            if isinstance(layer, nn.Linear) and inputs[0].ndim > 2:
                on_tokens.add(name)

        return count

    hooks = [model.get_submodule(name).register_forward_hook(counter(name)) for name in counts]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: count for name, count in counts.items() if count and name not in on_tokens}


def _tensors_of(state: Mapping[str, Tensor], side: Side) -> dict[str, Tensor]:
    last = f".{buffer_name(side)}"
    return {name.removesuffix(last): tensor for name, tensor in state.items() if name.endswith(last)}
