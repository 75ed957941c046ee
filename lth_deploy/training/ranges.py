"""Ranges of activations, kept as buffers of the layers that read or write them, so that checkpoints hold them.

A layer that runs several times in one pass (a head on a pyramid) has one range for each call. `input_range` and
`output_range` are float32 [calls, 2], smallest and largest value; an unknown range is infinity and its negative.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lth_deploy.training.fake_quantize import activation_grids

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
def observe(extent: Tensor, values: Tensor) -> None:
    """Move the range `extent` [2], in place, towards that of `values`; the first values are taken as they are."""
    if values.numel():
        seen = torch.stack(torch.aminmax(values.detach().float()))
        extent.copy_(torch.where(extent.isinf(), seen, MOMENTUM * extent + (1 - MOMENTUM) * seen))


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


def _tensors_of(state: Mapping[str, Tensor], side: Side) -> dict[str, Tensor]:
    last = f".{buffer_name(side)}"
    return {name.removesuffix(last): tensor for name, tensor in state.items() if name.endswith(last)}
