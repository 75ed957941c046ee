"""Which channels of a detector may change places together: groups of tensors that share one order of channels.

The groups are read off a running model, call by call. A convolution's output has an order of its own; norms,
activations, pooling and upsampling keep that of their input; a sum makes one of its two. What anything else reads (a
reshape to boxes, a region of interest) has an order that means something there and stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary
from torchvision.ops import FrozenBatchNorm2d

_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)
_KEEPERS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu_, F.relu6, F.hardtanh, F.max_pool2d, F.interpolate)
_SUMS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__)


@dataclass
class ChannelGroup:
    """One order of channels: names of the layers that write it and read it, and of the norms between."""

    size: int
    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)

    def axes(self, model: nn.Module) -> dict[str, int]:
        """The axis of these channels in each tensor of the model's state that has one."""
        found = {f"{layer}.weight": 1 for layer in self.readers}
        for name in (*self.writers, *self.norms):
            tensors = model.get_submodule(name).state_dict()
            found |= {f"{name}.{key}": 0 for key, tensor in tensors.items() if tensor.ndim and len(tensor) == self.size}
        return found


def channel_groups(model: nn.Module, images: Sequence[Tensor]) -> list[ChannelGroup]:
    """The groups of `model` whose order is free, found on `images`; leaves it in evaluation mode."""
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
        self._written: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._normed: dict[str, int] = {}
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
            if self._follows(inputs[0]):
                self._normed[name] = self._followed[output] = self._followed[inputs[0]]

        return leave

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make one call and see what it does to the order of channels."""
        result = func(*args, **(kwargs or {}))
        if self._inside_norm:
            return result
        if func in (F.conv2d, F.linear) and len(args) > 1 and id(args[1]) in self._names:
            self._layer(self._names[id(args[1])], args, result)
        elif func in _KEEPERS and self._follows(args[0]):
            self._followed[result] = self._followed[args[0]]
        elif func is Tensor.flatten and self._follows(args[0]) and args[0].shape == result.shape:
            self._followed[result] = self._followed[args[0]]  # there was nothing to flatten
        elif func in _SUMS and len(args) == 2 and all(self._follows(one) for one in args):
            self._followed[result] = self._joined(*(self._followed[one] for one in args))
        elif holds_tensor(result):
            self._fix((*args, *(kwargs or {}).values()))
        return result

    def _layer(self, name: str, args: tuple[Any, ...], result: Tensor) -> None:
        group = self._followed[args[0]] if self._follows(args[0]) else None
        if group is not None:
            self._read[name] = self._joined(self._read.get(name, group), group)
        elif name in self._read:
            self._fixed.add(self._read[name])
        if name not in self._written:
            self._parents.append(len(self._parents))
            self._written[name] = len(self._parents) - 1
        self._followed[result] = self._written[name]
        if args[1].ndim == 4 and args[0].shape[1] != args[1].shape[1]:
            # Grouped convolutions tie the places of their inputs and outputs to each other.
            self._fixed |= {self._written[name], *(() if group is None else (group,))}

    def _fix(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, list | tuple):
                self._fix(value)
            elif self._follows(value):
                self._fixed.add(self._followed[value])

    def _follows(self, value: object) -> bool:
        return isinstance(value, Tensor) and value in self._followed

    def _root(self, group: int) -> int:
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def _joined(self, first: int, second: int) -> int:
        first, second = self._root(first), self._root(second)
        self._parents[second] = first
        return first

    def groups(self) -> list[ChannelGroup]:
        """What the pass has shown, in the order in which layers wrote."""
        fixed = {self._root(group) for group in self._fixed}
        found: dict[int, ChannelGroup] = {}
        for name, group in self._written.items():
            size = len(self._model.get_parameter(f"{name}.weight"))
            found.setdefault(self._root(group), ChannelGroup(size)).writers.append(name)
        for name, group in self._read.items():
            found[self._root(group)].readers.append(name)
        for name, group in self._normed.items():
            found[self._root(group)].norms.append(name)
        return [group for root, group in found.items() if root not in fixed and group.readers]


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a list or tuple with one inside."""
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return any(map(holds_tensor, value))
    return isinstance(value, Tensor)
