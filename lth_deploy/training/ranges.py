"""Ranges of activations, kept as buffers of the layers that read or write them, so that checkpoints hold them.

A layer that runs several times in one pass (a head on a pyramid) has one range for each call. `input_range` and
`output_range` are float32 [calls, 2], smallest and largest value; an unknown range is infinity and its negative.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Side = Literal["input", "output"]
SIDES: tuple[Side, ...] = ("input", "output")
MOMENTUM = 0.95
"""Share of a range that stays when a batch is observed."""


@dataclass(frozen=True)
class Site:
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
def observe(extent: Tensor, values: Tensor) -> None:
    """Move the range `extent` [2], in place, towards that of `values`; the first values are taken as they are."""
    if values.numel():
        seen = torch.stack(torch.aminmax(values.detach().float()))
        extent.copy_(torch.where(extent.isinf(), seen, MOMENTUM * extent + (1 - MOMENTUM) * seen))


def ranges_in(state: Mapping[str, Tensor]) -> dict[Site, tuple[float, float]]:
    """The known ranges among the tensors of a saved model, by site."""
    found: dict[Site, tuple[float, float]] = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        for side in SIDES:
            if last == buffer_name(side):
                rows: list[tuple[float, float]] = [(low, high) for low, high in tensor.tolist()]
                found |= {Site(layer, side, call): row for call, row in enumerate(rows) if row[0] <= row[1]}
    return found


def calls_in(state: Mapping[str, Tensor]) -> dict[str, int]:
    """How often each layer with ranges runs in a pass, from the tensors of a saved model."""
    last = f".{buffer_name('input')}"
    return {name.removesuffix(last): len(tensor) for name, tensor in state.items() if name.endswith(last)}


def count_calls(model: nn.Module, layers: Iterable[str], run: Callable[[], object]) -> dict[str, int]:
    """How often each of `layers` runs while `run` does; those that never run are left out."""
    counts = dict.fromkeys(layers, 0)

    def counter(name: str) -> Callable[..., None]:
        def count(*_: object) -> None:
            counts[name] += 1

        return count

    hooks = [model.get_submodule(name).register_forward_hook(counter(name)) for name in counts]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: count for name, count in counts.items() if count}
