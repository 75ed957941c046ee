"""Masks that hold in any training loop: pruned weights stay exactly zero, whatever optimizer and precision it uses.

Gradients of pruned weights are zeroed as they arrive, so that clipping by the norm and the exchange between processes
see only what is left. Before a step they are zeroed again, for loops that write gradients themselves, and after it the
weights, for optimizers whose update of a weight depends on others. All of it runs on the device of the weights, and
never waits for it.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from lth_deploy.errors import TrainingError, UsageError
from lth_deploy.mask import Masks, save_masks
from lth_deploy.mask import sparsity as sparsity_of
from lth_deploy.training.held.fitted import Fitted, MaskLoadedWeights, copies_of, fit_masks
from lth_deploy.training.held.foreign_masks import masks_of
from lth_deploy.training.held.optimizers import require_seen, zero_state

LISTED = 5
AnyMasks = Mapping[str, npt.NDArray[Any] | Tensor]


def hold(
    model: nn.Module,
    optimizer: Optimizer | Iterable[Optimizer] | None,
    masks: AnyMasks | Path | str,
) -> "HeldMasks":
    """Hold `masks` on the parameters of `model` until the result is released.

    Weights that are pruned become zero now, with what the optimizer has accumulated for them, and stay exactly zero
    through momentum, weight decay, gradient clipping, automatic mixed precision and distributed data parallel. A model
    inside `DistributedDataParallel`, `DataParallel`, `AveragedModel` or `torch.compile` is looked through.

    Args:
        model: the network that trains.
        optimizer: what updates it: one optimizer, several, or None for every optimizer of torch that steps while the
            masks hold, for loops that build their own.
        masks: boolean arrays or tensors by parameter name, with the shape of the parameter, True where a weight is
            kept; or a file that `masks_of` reads.

    Raises:
        UsageError: masks fit no parameter (listed with the nearest names), or a parameter is updated by nothing that
            was given.
        DataError: the file is no file of masks.
    """
    read = masks_of(Path(masks)) if isinstance(masks, str | Path) else _arrays(masks)
    fitted = fit_masks(model, read)
    optimizers = None if optimizer is None else require_seen(optimizer, fitted)
    return HeldMasks(fitted, optimizers)


class HeldMasks:
    """Masks that hold until `release`; as a context manager they are checked and released at its end.

    masks: boolean arrays by parameter name, True where a weight is kept.
    """

    def __init__(self, fitted: list[Fitted], optimizers: list[Optimizer] | None) -> None:
        self.masks: Masks = {one.name: one.mask for one in fitted}
        self._fitted = fitted
        self._by_parameter = {id(one.parameter): one for one in fitted}
        self._remove: list[Callable[[], None]] = []
        self._prepared: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        for one in fitted:
            one.zero(one.parameter)
            one.zero_gradient()
        try:
            self._register(optimizers)
        except BaseException:
            self.release()
            raise

    @property
    def sparsity(self) -> float:
        """Share of zeros over all weights under the masks."""
        return sparsity_of(self.masks)

    def __enter__(self) -> Self:
        """The masks themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release, and after a training that ended well make sure that the zeros are exact."""
        self.release()
        if kind is None:
            self.check()

    def release(self) -> None:
        """Take every hook away; the weights keep their zeros until something changes them."""
        while self._remove:
            self._remove.pop()()

    def check(self) -> None:
        """Make sure that all pruned weights are zero; waits for the device once.

        Raises:
            TrainingError: some are not, because something that the hold cannot see has changed them.
        """
        wrong = {one.name: int(one.parameter.detach()[one.pruned].count_nonzero()) for one in self._fitted}
        faulty = [f"{name} ({count:,} weights)" for name, count in wrong.items() if count]
        if faulty:
            more = f" and {len(faulty) - LISTED} more" if len(faulty) > LISTED else ""
            raise TrainingError(
                f"pruned weights are not zero: {', '.join(faulty[:LISTED])}{more}; something changes them outside the "
                "step of the optimizers that the masks hold for: give all of them, or call zero(model) after it"
            )

    def zero(self, model: nn.Module) -> None:
        """Zero what the masks prune in `model`, for instance the average of the weights that was begun before.

        An average of weights that are zero stays zero, so that once is enough.

        Raises:
            UsageError: `model` has no parameters of these names and shapes.
        """
        for one, parameter in copies_of(self._fitted, model):
            one.zero(parameter)

    def save(self, path: Path) -> None:
        """Write the masks as safetensors, one bit for each weight; `hold` and `masks_of` read the file."""
        save_masks(path, self.masks)

    def _register(self, optimizers: list[Optimizer] | None) -> None:
        for one in self._fitted:
            if one.parameter.requires_grad:
                self._removable(one.parameter.register_hook(one.masked_gradient))  # type: ignore[no-untyped-call]
        for owner, names in _by_owner(self._fitted):
            hook = MaskLoadedWeights(names)
            self._removable(owner.register_load_state_dict_post_hook(hook))  # type: ignore[no-untyped-call]
        if optimizers is None:
            self._removable(register_optimizer_step_pre_hook(self._before_step))
            self._removable(register_optimizer_step_post_hook(self._after_step))
            return
        for optimizer in optimizers:
            self._prepare(optimizer)
            self._removable(optimizer.register_step_pre_hook(self._before_step))
            self._removable(optimizer.register_step_post_hook(self._after_step))

    def _removable(self, handle: Any) -> None:
        self._remove.append(handle.remove)

    def _held_by(self, optimizer: Optimizer) -> list[Fitted]:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        return [self._by_parameter[id(one)] for one in parameters if id(one) in self._by_parameter]

    def _prepare(self, optimizer: Optimizer) -> None:
        """Zero what it has accumulated, now and whenever its state is loaded."""
        self._prepared.add(optimizer)
        zero_state(optimizer, self._held_by(optimizer))
        me = weakref.ref(self)

        def again(loaded: Optimizer) -> None:
            held = me()
            if held is not None:
                zero_state(loaded, held._held_by(loaded))

        self._removable(optimizer.register_load_state_dict_post_hook(again))

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        held = self._held_by(optimizer)
        if held and optimizer not in self._prepared:
            self._prepare(optimizer)
        for one in held:
            one.require_in_place()
            one.zero_gradient()

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        for one in self._held_by(optimizer):
            one.zero(one.parameter)


def _by_owner(fitted: list[Fitted]) -> list[tuple[nn.Module, dict[str, Fitted]]]:
    owners: dict[int, tuple[nn.Module, dict[str, Fitted]]] = {}
    for one in fitted:
        owners.setdefault(id(one.owner), (one.owner, {}))[1][one.local] = one
    return list(owners.values())


def _arrays(masks: AnyMasks) -> Masks:
    """Masks as boolean arrays.

    Raises:
        UsageError: there are no names, or a mask holds other values than true and false, or 1 and 0.
    """
    if not isinstance(masks, Mapping):
        raise UsageError(f"masks are a {type(masks).__name__}; give arrays by parameter name, or a file of masks")
    found: Masks = {}
    for name, mask in masks.items():
        array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
        if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
            raise UsageError(f"the mask '{name}' holds other values than 0 and 1; 1 keeps a weight, 0 prunes it")
        found[name] = array.astype(np.bool_)
    return found
