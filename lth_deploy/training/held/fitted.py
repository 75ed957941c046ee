"""Masks beside the parameters that they hold for."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lth_deploy.errors import UsageError
from lth_deploy.mask import BoolArray, Masks

LISTED = 5
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers with the bytes of a float."""
_PLAIN = (Tensor, nn.Parameter)
_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)
_COMPILED = "_orig_mod."


@dataclass
class Fitted:
    """One mask and its parameter.

    owner, local: the module that has the parameter, and its name there. pruned: True where a weight is zero, on the
    device of the parameter.
    """

    name: str
    owner: nn.Module
    local: str
    parameter: nn.Parameter
    mask: BoolArray
    pruned: Tensor = field(init=False)
    _bits: dict[torch.dtype, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Bring the mask to the parameter's device."""
        # Of the parameter's own strides, so that a network in channels_last is masked as fast as one that is not.
        like = torch.empty_like(self.parameter, dtype=torch.bool, requires_grad=False)
        self.pruned = like.copy_(torch.from_numpy(~self.mask)).detach()

    def zero(self, tensor: Tensor) -> None:
        """Zero in `tensor`, of the parameter's shape, what is pruned."""
        with torch.no_grad():
            bits = self._kept_bits(tensor)
            if bits is None:
                tensor.masked_fill_(self._pruned_on(tensor.device), 0)
            else:
                tensor.view(bits.dtype).bitwise_and_(bits)

    def zero_gradient(self) -> None:
        """The same in the gradient that is there."""
        if self.parameter.grad is not None:
            self.zero(self.parameter.grad)

    def masked_gradient(self, gradient: Tensor) -> Tensor:
        """`gradient` with zeros where weights are pruned, infinities and NaN included."""
        bits = None if gradient.requires_grad else self._kept_bits(gradient)
        if bits is None:
            return gradient.masked_fill(self._pruned_on(gradient.device), 0)
        return gradient.view(bits.dtype).bitwise_and(bits).view(gradient.dtype)

    def require_in_place(self) -> None:
        """Make sure that the module still has the parameter that the mask is for.

        Raises:
            UsageError: it has another one.
        """
        if self.owner._parameters.get(self.local) is not self.parameter:
            raise UsageError(
                f"the parameter '{self.name}' was replaced by another one while its mask was held; release the masks "
                "before that, and hold them again after it"
            )

    def _kept_bits(self, tensor: Tensor) -> Tensor | None:
        """Integers of the bytes of the tensor's values: all bits where a weight is kept, none where it is pruned.

        None where values are not floats in the memory of the CPU. There torch's kernel of masked_fill_ goes value by
        value, and takes ten times as long as this one.
        """
        if tensor.device.type != "cpu" or not tensor.is_floating_point() or type(tensor) not in _PLAIN:
            return None
        integer = _INTEGERS.get(tensor.element_size())
        if integer is not None and integer not in self._bits:
            self._bits[integer] = torch.where(self._pruned_on(tensor.device), 0, -1).to(integer)
        return None if integer is None else self._bits[integer]

    def _pruned_on(self, device: torch.device) -> Tensor:
        if self.pruned.device != device:
            self.pruned = self.pruned.to(device)  # the model was moved
        return self.pruned


class MaskLoadedWeights:
    """Masks the weights of a module again after a state was loaded into it; copies of the module share the masks."""

    def __init__(self, masks: Mapping[str, Fitted]) -> None:
        self._pruned = {local: one.pruned for local, one in masks.items()}

    def __call__(self, module: nn.Module, _: Any) -> None:
        """Zero what is pruned."""
        with torch.no_grad():
            for local, pruned in self._pruned.items():
                tensor = module._parameters.get(local)
                if tensor is not None and tensor.shape == pruned.shape:
                    tensor.masked_fill_(pruned.to(tensor.device), 0)

    def __deepcopy__(self, memory: Any) -> Self:
        return self


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside wrappers of torch."""
    while True:
        inner = getattr(model, "module", None) if isinstance(model, _WRAPPERS) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def fit_masks(model: nn.Module, masks: Masks) -> list[Fitted]:
    """Each of `masks` beside its parameter in `model`.

    Raises:
        UsageError: there are no masks, or some fit no parameter; lists them with the nearest names.
    """
    if not masks:
        raise UsageError("there are no masks to hold; give at least one, by parameter name")
    places = _places(model)
    found: dict[int, Fitted] = {}
    faults = []
    for given, mask in masks.items():
        name = _canonical(given, places)
        fault = _fault(given, name, mask, places)
        if fault is not None:
            faults.append(fault)
            continue
        owner, local = places[name]
        parameter = owner._parameters[local]
        assert parameter is not None
        other = found.get(id(parameter))
        if other is None:
            found[id(parameter)] = Fitted(name, owner, local, parameter, np.ascontiguousarray(mask, np.bool_))
        elif not np.array_equal(other.mask, mask):
            faults.append(f"'{given}' and '{other.name}' are one shared parameter with two masks")
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise UsageError(f"{len(faults)} of {len(masks)} masks fit no parameter: {'; '.join(faults[:LISTED])}{more}")
    return list(found.values())


def copies_of(fitted: Sequence[Fitted], model: nn.Module) -> Iterator[tuple[Fitted, Tensor]]:
    """The parameters of `model` that have the names of those that `fitted` holds.

    Raises:
        UsageError: one is missing, or has another shape.
    """
    for one in fit_masks(model, {one.name: one.mask for one in fitted}):
        yield one, one.parameter


def _places(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Where each parameter is, by the name that the user's own module gives it."""
    found = {}
    for prefix, module in unwrapped(model).named_modules(remove_duplicate=False):
        for local, parameter in module._parameters.items():
            if parameter is not None:
                found[f"{prefix}.{local}".removeprefix(".").replace(_COMPILED, "")] = (module, local)
    return found


def _canonical(name: str, places: Mapping[str, Any]) -> str:
    name = name.replace(_COMPILED, "")
    return name.removeprefix("module.") if name not in places else name


def _fault(given: str, name: str, mask: BoolArray, places: Mapping[str, tuple[nn.Module, str]]) -> str | None:
    if name not in places:
        return _missing(given, name, places)
    module, local = places[name]
    parameter = module._parameters[local]
    assert parameter is not None
    if hasattr(parameter, "device_mesh"):
        return f"'{given}' is split over several processes (a DTensor), which a mask of the whole does not fit"
    if isinstance(parameter, nn.UninitializedParameter):
        return f"'{given}' has no shape yet; run the lazy module once before"
    if getattr(module, "sparse", False):
        return f"'{given}' has sparse gradients; build its embedding with sparse=False"
    if tuple(parameter.shape) != mask.shape:
        return f"'{given}' has a mask of {list(mask.shape)} and a parameter of {list(parameter.shape)}"
    return None


def _missing(given: str, name: str, places: Mapping[str, Any]) -> str:
    prefix, _, local = name.rpartition(".")
    if f"{name}_orig" in places:
        return (
            f"'{given}' is computed by torch.nn.utils.prune from '{name}_orig'; call "
            f"torch.nn.utils.prune.remove(module, '{local}') first, which keeps the zeros"
        )
    original = f"{prefix}.parametrizations.{local}.original".removeprefix(".")
    if any(place.startswith(original) for place in places):
        return f"'{given}' is computed by torch.nn.utils.parametrize; remove the parametrization first"
    near = difflib.get_close_matches(name, places, n=2)
    return f"'{given}'" + (f" (nearest: {' and '.join(repr(one) for one in near)})" if near else " (nothing like it)")
