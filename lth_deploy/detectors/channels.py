"""Which channels of a detector may change places together, or be removed together: groups that share one order.

The groups are read off a running model, call by call. A convolution's output has an order of its own; norms,
activations, pooling and upsampling keep that of their input; a depth-wise convolution, a sum and a product make one
order of two; a concatenation has the orders of its parts, one behind the other. What anything else reads (a reshape to
boxes, a region of interest) has an order that means something there and stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.detectors import channel_functions as functions

_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


@dataclass
class ChannelGroup:
    """One order of channels: names of the layers that write it and read it, and of the norms between.

    joined: some layer or norm reads it behind or before other channels, at places that `axes` does not know.
    silent: a channel whose writers put out zeros is zero wherever a layer reads it.
    """

    size: int
    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    joined: bool = False
    silent: bool = True

    def axes(self, model: nn.Module) -> list[tuple[str, int]]:
        """Each tensor of the state that has these channels, and along which axis; not for groups that are joined.

        A layer whose outputs are added to what it reads has them along both.
        """
        found = [(f"{layer}.weight", 1) for layer in self.readers]
        for name in (*self.writers, *self.norms):
            tensors = model.get_submodule(name).state_dict()
            found += [(f"{name}.{key}", 0) for key, one in tensors.items() if one.ndim and len(one) == self.size]
        return found


def channel_groups(model: nn.Module, images: Sequence[Tensor]) -> list[ChannelGroup]:
    """The groups of `model` that nothing holds in place, found on `images`; leaves it in evaluation mode."""
    trace = _Trace(model)
    model.eval()
    run_traced(trace, trace.watch_norms(), lambda: model(list(images)))
    return trace.groups()


def run_traced(trace: TorchFunctionMode, hooks: Sequence[RemovableHandle], run: Callable[[], object]) -> None:
    """Make one pass under a trace, without gradients, and take its hooks away again."""
    try:
        with torch.no_grad(), trace:
            run()
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class _Part:
    """Channels of one group. zero: those are zero here whose writers put out zeros."""

    group: int
    size: int
    zero: bool = True


@dataclass(frozen=True)
class _Channels:
    """The channels of a tensor along one axis."""

    axis: int
    parts: tuple[_Part, ...]

    def with_zeros(self, kept: bool) -> "_Channels":
        """The channels of what a function makes of each one; `kept` says whether of zero it makes zero."""
        return self if kept else replace(self, parts=tuple(replace(part, zero=False) for part in self.parts))

    def fits(self, other: "_Channels") -> bool:
        """Whether the parts of both lie at the same places."""
        sizes = [[part.size for part in one.parts] for one in (self, other)]
        return self.axis == other.axis and sizes[0] == sizes[1]


class _Trace(TorchFunctionMode):
    """Follows tensors through one pass; groups are sets of numbers that are joined when a sum or a reader says so."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
        self._names = {id(layer.weight): name for name, layer in layers.items()}
        self._followed = WeakTensorKeyDictionary()
        self._parents: list[int] = []
        self._fixed: set[int] = set()
        self._loud: set[int] = set()
        self._joined: set[int] = set()
        self._written: dict[str, int] = {}
        self._read: dict[str, tuple[_Part, ...]] = {}
        self._normed: dict[str, tuple[_Part, ...]] = {}
        self._inside_norm = False

    def watch_norms(self) -> list[RemovableHandle]:
        """Hooks that see norms as a whole: the frozen ones are sums and products inside."""
        hooks = []
        for name, module in self._model.named_modules():
            if isinstance(module, _NORMS):
                hooks.append(module.register_forward_pre_hook(self._enter_norm))
                hooks.append(module.register_forward_hook(self._leave_norm(name)))
        return hooks

    def _enter_norm(self, *_: object) -> None:
        self._inside_norm = True

    def _leave_norm(self, name: str) -> Callable[..., None]:
        def leave(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._inside_norm = False
            found = self._of(inputs[0])
            self._note(self._normed, name, found)
            if found is not None:
                self._followed[output] = found

        return leave

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make one call and see what it does to the order of channels."""
        before = [self._of(value) for value in args[:2]]  # a call in place changes what its argument is
        result = func(*args, **(kwargs or {}))
        if self._inside_norm:
            return result
        if func in (F.conv2d, F.linear) and len(args) > 1 and id(args[1]) in self._names:
            self._layer(self._names[id(args[1])], before[0], args, result)
        elif (made := self._made(func, before, args, kwargs or {}, result)) is not None:
            self._followed[result] = made
        elif holds_tensor(result) or func is Tensor.__setitem__:
            self._fix((*args, *(kwargs or {}).values()))
            if isinstance(result, Tensor) and result in self._followed:
                del self._followed[result]
        return result

    def _made(
        self, func: Callable[..., Any], before: list[_Channels | None], args: tuple[Any, ...], more: Any, result: Any
    ) -> _Channels | None:
        """The channels of a result, where they are those of the arguments."""
        if func in functions.JOINS:
            return self._concatenated(args, more)
        first, second = (*before, None, None)[:2]
        if func in functions.SUMS | functions.PRODUCTS and len(args) == 2 and not more:
            return self._combined(func in functions.PRODUCTS, first, second, args)
        if first is None or not isinstance(result, Tensor):
            return None
        if func in functions.ZERO_KEPT or (func is F.dropout and not more.get("training", True)):
            return first
        if func in functions.ZERO_CHANGED:
            return first.with_zeros(False)
        if func in functions.CLIPS:
            return first.with_zeros(functions.zero_within(args[1:], more))
        if func in functions.QUOTIENTS and len(args) == 2 and functions.is_number(args[1]) and args[1]:
            return first
        if func in functions.IMAGES and args[0].ndim == 4 and first.axis == 1:
            return first
        # With nothing to flatten it returns what it was given.
        return first if func is Tensor.flatten and args[0].shape == result.shape else None

    def _combined(
        self, product: bool, first: _Channels | None, second: _Channels | None, args: tuple[Any, ...]
    ) -> _Channels | None:
        """The channels of a sum or a product."""
        if first is not None and second is not None:
            if not first.fits(second) or args[0].ndim != args[1].ndim:
                return None
            parts = []
            for one, other in zip(first.parts, second.parts, strict=True):
                zero = one.zero or other.zero if product else one.zero and other.zero
                parts.append(_Part(self._united(one.group, other.group), one.size, zero))
            return _Channels(first.axis, tuple(parts))
        followed, other = (first, args[1]) if first is not None else (second, args[0])
        if followed is None or not functions.is_number(other):
            return None
        return followed.with_zeros(product or other == 0)

    def _concatenated(self, args: tuple[Any, ...], more: Any) -> _Channels | None:
        """The channels of tensors that are joined along that very axis."""
        tensors = args[0] if args else more.get("tensors")
        dim = args[1] if len(args) > 1 else more.get("dim", 0)
        if not isinstance(tensors, list | tuple) or not isinstance(dim, int) or not tensors:
            return None
        found = [self._of(tensor) for tensor in tensors]
        parts: list[_Part] = []
        for one, tensor in zip(found, tensors, strict=True):
            if one is None or one.axis != dim % tensor.ndim:
                return None
            parts += one.parts
        return _Channels(dim % tensors[0].ndim, tuple(parts))

    def _layer(self, name: str, read: _Channels | None, args: tuple[Any, ...], result: Tensor) -> None:
        weight, axis = args[1], 1 if args[1].ndim == 4 else result.ndim - 1
        if name not in self._written:
            self._parents.append(len(self._parents))
            self._written[name] = len(self._parents) - 1
        own = _Part(self._written[name], len(weight))
        self._followed[result] = _Channels(axis, (own,))
        if read is not None and (read.axis != axis or args[0].ndim != result.ndim):
            self._fix_parts(read.parts)
            read = None
        elif read is not None:
            self._loud |= {part.group for part in read.parts if not part.zero}
        if weight.ndim == 4 and args[0].shape[1] != weight.shape[1]:
            self._grouped(own, weight, read)
        else:
            self._note(self._read, name, read)

    def _grouped(self, own: _Part, weight: Tensor, read: _Channels | None) -> None:
        """A convolution in groups: a depth-wise one gives each channel on; others tie the places of both ends."""
        parts = read.parts if read is not None else ()
        if len(parts) == 1 and parts[0].size == own.size == len(weight) and weight.shape[1] == 1:
            self._united(own.group, parts[0].group)
        else:
            self._fix_parts((own, *parts))

    def _note(self, read: dict[str, tuple[_Part, ...]], name: str, channels: _Channels | None) -> None:
        """What a layer or a norm reads in one call is what it reads in the next, place by place."""
        now = () if channels is None else channels.parts
        before = read.setdefault(name, now)
        if len(now) > 1:
            self._joined |= {part.group for part in now}
        if [part.size for part in before] != [part.size for part in now]:
            self._fix_parts((*before, *now))
        else:
            for one, other in zip(before, now, strict=True):
                self._united(one.group, other.group)

    def _fix(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, list | tuple):
                self._fix(value)
            elif (found := self._of(value)) is not None:
                self._fix_parts(found.parts)

    def _fix_parts(self, parts: Sequence[_Part]) -> None:
        self._fixed |= {part.group for part in parts}

    def _of(self, value: object) -> _Channels | None:
        found = self._followed.get(value, None) if isinstance(value, Tensor) else None  # type: ignore[no-untyped-call]
        return found if isinstance(found, _Channels) else None

    def _root(self, group: int) -> int:
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def _united(self, first: int, second: int) -> int:
        first, second = self._root(first), self._root(second)
        self._parents[second] = first
        return first

    def groups(self) -> list[ChannelGroup]:
        """What the pass has shown, in the order in which layers wrote."""
        fixed, joined, loud = ({self._root(one) for one in of} for of in (self._fixed, self._joined, self._loud))
        found: dict[int, ChannelGroup] = {}
        for name, group in self._written.items():
            size, root = len(self._model.get_parameter(f"{name}.weight")), self._root(group)
            made = found.setdefault(root, ChannelGroup(size, joined=root in joined, silent=root not in loud))
            made.writers.append(name)
        for name, parts in self._read.items():
            for root in dict.fromkeys(self._root(part.group) for part in parts):
                found[root].readers.append(name)
        for name, parts in self._normed.items():
            for root in dict.fromkeys(self._root(part.group) for part in parts):
                found[root].norms.append(name)
        return [group for root, group in found.items() if root not in fixed and group.readers]


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a list or tuple with one inside."""
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return any(map(holds_tensor, value))
    return isinstance(value, Tensor)
