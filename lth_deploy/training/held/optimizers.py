"""Optimizers that masks can hold for: those whose steps and parameters torch shows."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.optim import Optimizer

from lth_deploy.errors import UsageError
from lth_deploy.training.held.fitted import Fitted

LISTED = 5


def require_seen(optimizer: Optimizer | Iterable[Optimizer], fitted: Sequence[Fitted]) -> list[Optimizer]:
    """The optimizers inside `optimizer`, after a look at whether they update all parameters that are held.

    Raises:
        UsageError: something is no optimizer of torch, shows no steps, or a parameter that trains is in none.
    """
    # Wrappers of accelerate and others are optimizers themselves, with the one that steps inside.
    given = [optimizer] if isinstance(optimizer, Optimizer) or hasattr(optimizer, "step") else list(optimizer)
    found = [_innermost(one) for one in given]
    updated = {id(parameter) for one in found for group in one.param_groups for parameter in group["params"]}
    absent = [one.name for one in fitted if one.parameter.requires_grad and id(one.parameter) not in updated]
    if absent:
        more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
        raise UsageError(
            f"the optimizer does not update {', '.join(absent[:LISTED])}{more}, so that the hold cannot see their "
            "steps: it may keep copies of its own (master weights, flattened or sharded parameters), be made for "
            "another model, or be one of several; give all that update the model"
        )
    return found


def zero_state(optimizer: Optimizer, held: Iterable[Fitted]) -> None:
    """Zero what `optimizer` has accumulated for pruned weights."""
    for one in held:
        for slot in optimizer.state.get(one.parameter, {}).values():
            if isinstance(slot, Tensor) and slot.shape == one.parameter.shape:
                one.zero(slot)


def _innermost(optimizer: object) -> Optimizer:
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if not isinstance(optimizer, Optimizer):
        raise UsageError(
            f"{type(optimizer).__name__} is no torch.optim.Optimizer, so that the hold cannot see its steps; give the "
            "optimizer of torch inside it, or None to hold for every one that steps"
        )
    shown = hasattr(optimizer, "_optimizer_step_post_hooks") and getattr(type(optimizer).step, "hooked", False)
    if not shown:
        raise UsageError(
            f"{type(optimizer).__name__} steps without the hooks of torch.optim.Optimizer, so that the hold cannot see "
            "its steps; let its __init__ call that of Optimizer"
        )
    return optimizer
