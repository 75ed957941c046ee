"""One pass of a detector with fake quantization wherever the exported INT8 file quantizes.

ONNX Runtime's static quantization has a grid for every tensor that a quantized layer reads, and for those that a
residual sum, a max-pool or an upsampling between such layers reads. The same is done here from inside the running
model: every call of a torch function is seen, and a tensor is brought onto its grid when the first of them reads it. So
ReLU acts before the rounding, all readers of a tensor see the same values, and what leaves the layers (logits, box
deltas) stays float.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from lth_deploy.errors import TrainingError
from lth_deploy.training.fake_quantize import (
    activation_grids,
    quantize_activation,
    quantize_bias,
    quantize_weight,
    weight_scales,
)
from lth_deploy.training.ranges import Site, extent_of, joined_extents, observe, rows_of

Function = Callable[..., Any]

_LAYERS = (F.conv2d, F.conv_transpose2d, F.linear)
_ACTIVATIONS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh)
_SUMS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__)


@dataclass
class _Followed:
    """What is known of a tensor on its way from layer to layer.

    producer: layer and call that it is the output of. values: what its readers see, once there is one; scale: that of
    the grid they lie on, None while no range is known. activated: whether an activation made another tensor of it.
    """

    producer: tuple[str, int] | None = None
    values: Tensor | None = None
    scale: Tensor | None = None
    activated: bool = False


class QuantizedPass(TorchFunctionMode):
    """Active while a model runs once."""

    def __init__(self, model: nn.Module, calls: Mapping[str, int], observing: bool) -> None:
        """`calls`: how often each quantized layer runs at most; `observing`: whether ranges follow what passes."""
        super().__init__()
        self._limits, self._observing, self._calls = calls, observing, Counter[str]()
        self._names = {id(model.get_submodule(name).weight): name for name in calls}
        self._weights: dict[str, tuple[Tensor, Tensor]] = {}
        self._followed = WeakTensorKeyDictionary()
        self._rows = rows_of(model, calls)
        self._seen: dict[Site, Tensor] = {}
        # The grids are those of before this pass, so that one look at the device serves all.
        extents = torch.stack(list(self._rows.values()))
        grids = zip(*(part.unbind() for part in activation_grids(extents)), strict=True)
        known = [
            (site, low, grid)
            for site, (low, high), grid in zip(self._rows, extents.tolist(), grids, strict=True)
            if not low > high
        ]
        self._grids = {site: grid for site, _, grid in known}
        self._signed = {site for site, low, _ in known if low < 0}

    def move_ranges(self) -> None:
        """Move all ranges towards what this pass has seen; in a step that ranks share, towards what any of them saw."""
        sites = sorted(self._rows)  # the same order on all ranks
        seen = joined_extents([self._seen.get(site) for site in sites], self._rows[sites[0]])
        for site, extent in zip(sites, seen, strict=True):
            observe(self._rows[site], extent)

    def __torch_function__(
        self, func: Function, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See one call of a torch function, on its way to be made."""
        kwargs = kwargs or {}
        if func in _LAYERS and len(args) > 1 and id(args[1]) in self._names:
            return self._layer(func, *args, **kwargs)
        if args and self._follows(args[0]):
            if func in _ACTIVATIONS and self._followed[args[0]].values is None:
                return self._activation(func, *args, **kwargs)
            if func in _SUMS and len(args) == 2 and self._follows(args[1]) and not kwargs:
                return self._sum(*args)
            if _moves(func, args, kwargs):
                return self._move(func, *args, **kwargs)
        return self._other(func, args, kwargs)

    def _layer(
        self, func: Function, values: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **kwargs: Any
    ) -> Tensor:
        name = self._names[id(weight)]
        call, self._calls[name] = self._calls[name], self._calls[name] + 1
        if call >= self._limits[name]:
            raise TrainingError(f"'{name}' runs more often in training than in evaluation; it cannot be quantized")
        if name not in self._weights:
            axis = int(func is F.conv_transpose2d)
            scales = weight_scales(weight, axis)
            self._weights[name] = quantize_weight(weight, scales, axis), scales
        on_grid, scales = self._weights[name]
        values, scale = self._read(values, Site(name, "input", call))
        if bias is not None and scale is not None:
            bias = quantize_bias(bias, scale * scales)
        result: Tensor = func(values, on_grid, bias, *rest, **kwargs)
        self._followed[result] = _Followed((name, call))
        return result

    def _activation(self, func: Function, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        before = self._followed[tensor]
        if before.producer and Site(before.producer[0], "output", before.producer[1]) in self._signed:
            # Others read the layer's output without the activation (P6 of RetinaNet): it has a grid of its own.
            result: Tensor = func(self._read(tensor)[0], *args, **kwargs)
            return result
        result = func(tensor, *args, **kwargs)
        if result is not tensor:
            before.activated = True
            self._followed[result] = _Followed(before.producer)
        return result

    def _sum(self, first: Tensor, second: Tensor) -> Tensor:
        # A sum in place becomes a new tensor: the one it would overwrite may have other readers.
        result = torch.add(self._read(first)[0], self._read(second)[0])
        self._followed[result] = _Followed()
        return result

    def _move(self, func: Function, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        values, scale = self._read(tensor)
        result: Tensor = func(values, *args, **kwargs)
        was_read = self._followed[tensor].values is not None
        self._followed[result] = _Followed(values=result, scale=scale) if was_read else _Followed()
        return result

    def _other(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*map(self._as_read, args), **{key: self._as_read(value) for key, value in kwargs.items()})
        if args and result is args[0] and self._follows(result):
            del self._followed[result]
        return result

    def _read(self, tensor: Tensor, site: Site | None = None) -> tuple[Tensor, Tensor | None]:
        """The tensor as all its readers see it, and the scale of its grid, None while it stays float.

        site: where its range belongs, unless that is to the layer before.
        """
        followed = self._followed[tensor] if self._follows(tensor) else _Followed()
        if followed.producer and (site is None or followed.activated):
            site = Site(followed.producer[0], "output", followed.producer[1])
        if followed.values is None and site is not None:
            if self._observing:
                self._seen[site] = extent_of(tensor)
            followed.values = tensor
            if site in self._grids:
                followed.scale, zero = self._grids[site]
                followed.values = quantize_activation(tensor, followed.scale, zero)
            self._followed[tensor] = followed
        return tensor if followed.values is None else followed.values, followed.scale

    def _follows(self, value: object) -> bool:
        return isinstance(value, Tensor) and value in self._followed

    def _as_read(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(map(self._as_read, value))
        read = self._followed[value].values if self._follows(value) else None
        return value if read is None else read


def _moves(func: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function only moves values, so that its result lies on its argument's grid."""
    is_nearest = func is F.interpolate and len(args) < 4 and kwargs.get("mode", "nearest") == "nearest"
    return is_nearest or func is F.max_pool2d
