"""Which batch norm alone reads the output of a convolution, seen in a pass through a detector of unknown structure."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from lth_deploy.detectors.channels import holds_tensor, run_traced
from lth_deploy.detectors.fold_norm import FOLDABLE

_READS_OUT = (Tensor.item, Tensor.tolist, Tensor.numpy)


def following_norms(model: nn.Module, run: Callable[[], object]) -> dict[str, str]:
    """By the name of a convolution, that of the norm which reads each of its outputs, as nothing else does.

    `run` passes something through `model`, which is in evaluation mode. A convolution that computes with other weights
    than it holds is left out, and so is a norm that reads anything else too.
    """
    trace = _Trace(model)
    run_traced(trace, trace.watch_norms(), run)
    return trace.pairs()


class _Trace(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._convs = {id(module.weight): name for name, module in model.named_modules() if type(module) is nn.Conv2d}
        self._norms = {name: module for name, module in model.named_modules() if isinstance(module, FOLDABLE)}
        self._model = model
        self._followed = WeakTensorKeyDictionary()
        self._readers: dict[str, set[str | None]] = {}
        self._sources: dict[str, set[str | None]] = {}
        self._calls: dict[str, int] = {}
        self._normed: dict[str, int] = {}
        self._inside_norm = False

    def watch_norms(self) -> list[RemovableHandle]:
        """Hooks that see a norm as one function, whatever it computes inside."""
        hooks = []
        for name, module in self._norms.items():
            hooks.append(module.register_forward_pre_hook(self._enter(name)))
            hooks.append(module.register_forward_hook(self._leave))
        return hooks

    def _enter(self, norm: str) -> Callable[..., None]:
        def enter(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._inside_norm = True
            conv = self._followed.get(inputs[0], None)  # type: ignore[no-untyped-call]
            self._sources.setdefault(norm, set()).add(conv)
            if conv is not None:
                self._readers.setdefault(conv, set()).add(norm)
                self._normed[conv] = self._normed.get(conv, 0) + 1

        return enter

    def _leave(self, *_: object) -> None:
        self._inside_norm = False

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make one call, and see what it reads."""
        result = func(*args, **(kwargs or {}))
        if self._inside_norm:
            return result
        if holds_tensor(result) or func in _READS_OUT:
            self._read((*args, *(kwargs or {}).values()))
        if func is F.conv2d and len(args) > 1 and id(args[1]) in self._convs:
            name = self._convs[id(args[1])]
            self._calls[name] = self._calls.get(name, 0) + 1
            self._followed[result] = name
        return result

    def _read(self, values: Any) -> None:
        for value in values:
            if isinstance(value, list | tuple):
                self._read(value)
            elif isinstance(value, dict):
                self._read(value.values())
            elif isinstance(value, Tensor) and value in self._followed:
                self._readers.setdefault(self._followed[value], set()).add(None)

    def pairs(self) -> dict[str, str]:
        """What the pass has shown, in the order of the model's modules."""
        found = {}
        for conv in self._convs.values():
            readers = self._readers.get(conv, set())
            norm = next(iter(readers), None)
            is_pair = len(readers) == 1 and norm is not None and self._sources[norm] == {conv}
            if norm is not None and is_pair and self._calls[conv] == self._normed[conv] and self._fits(conv, norm):
                found[conv] = norm
        return found

    def _fits(self, conv: str, norm: str) -> bool:
        variance = getattr(self._norms[norm], "running_var", None)
        channels = len(self._model.get_parameter(f"{conv}.weight"))
        return isinstance(variance, Tensor) and variance.numel() == channels
