"""Held masks are exact through everything that a training loop does, and leave nothing behind."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from torch import nn  # noqa: E402
from torch.optim import optimizer as module  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import lth_deploy  # noqa: E402
from lth_deploy.errors import TrainingError  # noqa: E402
from tests.training.held.small import batch, loss_of, masks_for, network, require_zeros, train  # noqa: E402

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd_fused": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, fused=True),
    "adamw_foreach": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_kept_learns_as_in_a_network_without_the_rest(name: str) -> None:
    """The other network multiplies its weights by the mask in every pass, so that it has no use for the rest."""
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS[name](model.parameters())
    with lth_deploy.hold(model, optimizer, masks):
        train(model, optimizer, range(12), clip=0.5)
    require_zeros(model, masks)

    other = network()
    keep = {key: torch.from_numpy(mask).float() for key, mask in masks.items()}
    with torch.no_grad():
        for key, mask in keep.items():
            other.get_parameter(key).mul_(mask)

    def masked_loss(one: nn.Module, step: int) -> Any:
        inputs, answers = batch(step)
        weights = {key: value * keep[key] if key in keep else value for key, value in one.named_parameters()}
        return ((torch.func.functional_call(one, weights, (inputs,)) - answers) ** 2).mean()

    train(other, OPTIMIZERS[name](other.parameters()), range(12), clip=0.5, loss=masked_loss)
    for key, value in other.named_parameters():
        kept = keep[key].bool() if key in keep else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(value[kept], model.get_parameter(key)[kept]), key


def test_an_optimizer_whose_updates_are_dense_cannot_fill_the_zeros() -> None:
    """Muon makes a matrix of momentum orthogonal: each of its entries depends on all gradients."""
    layers = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    masks = masks_for(layers)
    optimizer = torch.optim.Muon(layers.parameters(), lr=0.1)

    def loss(model: nn.Module, step: int) -> Any:
        return model(torch.randn(4, 8, generator=torch.Generator().manual_seed(step))).square().mean()

    with lth_deploy.hold(layers, optimizer, masks):
        train(layers, optimizer, range(4), loss=loss)
    require_zeros(layers, masks)


def test_masks_that_come_in_the_middle_take_the_momentum_along() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer, range(4))
    with lth_deploy.hold(model, optimizer, masks):
        for name, mask in masks.items():
            momentum = optimizer.state[model.get_parameter(name)]["momentum_buffer"].numpy()
            assert not momentum[~mask].any()
            assert momentum[mask].any()
        train(model, optimizer, range(4, 8))
    require_zeros(model, masks)


def test_the_norm_that_clips_is_that_of_what_is_left() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with lth_deploy.hold(model, optimizer, masks):
        loss_of(model, 0).backward()
        total = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        squares = 0.0
        for name, parameter in model.named_parameters():
            gradient = parameter.grad.numpy()
            squares += float(np.square(gradient[masks[name]] if name in masks else gradient).sum())
    assert total.item() == pytest.approx(squares**0.5, rel=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw_fused"])
def test_mixed_precision_skips_no_step_for_an_overflow_of_a_pruned_weight(name: str) -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = OPTIMIZERS[name](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    masks = {"weight": np.array([[True, False]])}
    with lth_deploy.hold(model, optimizer, masks):
        before = model.weight.clone()
        for value, steps in ((float("inf"), True), (1.0, True)):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.tensor([[1.0, 1.0]])).sum()
            scaler.scale(loss).backward()
            # The gradient of the pruned weight arrives with an overflow, through the same hooks as all others.
            model.weight.grad = None
            (model.weight * torch.tensor([[1.0, value]])).sum().backward()
            scaler.step(optimizer)
            scaler.update()
            assert bool((model.weight[0, 0] != before[0, 0]).item()) is steps
            before = model.weight.clone()
    require_zeros(model, masks)


def test_gradients_that_are_written_by_hand_are_masked_before_the_step() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with lth_deploy.hold(model, optimizer, masks):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        for name, mask in masks.items():
            assert not optimizer.state[model.get_parameter(name)]["momentum_buffer"].numpy()[~mask].any()
    require_zeros(model, masks)


def test_an_average_of_the_weights_has_the_same_zeros() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["adam"](model.parameters())
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    with lth_deploy.hold(model, optimizer, masks) as held:
        later = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        held.zero(average)
        for step in range(6):
            train(model, optimizer, range(step, step + 1))
            average.update_parameters(model)
            later.update_parameters(model)
    require_zeros(average.module, masks)
    require_zeros(later.module, masks)


def test_a_state_that_is_loaded_is_masked_too() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["adam"](model.parameters())
    other = network(1)
    trained = OPTIMIZERS["adam"](other.parameters())
    train(other, trained, range(3))
    with lth_deploy.hold(model, optimizer, masks):
        model.load_state_dict(other.state_dict())
        require_zeros(model, masks)
        optimizer.load_state_dict(copy.deepcopy(trained.state_dict()))
        for name, mask in masks.items():
            assert not optimizer.state[model.get_parameter(name)]["exp_avg"].numpy()[~mask].any()
        train(model, optimizer, range(3))
    require_zeros(model, masks)


def test_a_loop_may_build_its_own_optimizers() -> None:
    model, masks = network(), masks_for(network())
    with lth_deploy.hold(model, None, masks):
        for _ in range(2):
            parts = list(model.parameters())
            first, second = OPTIMIZERS["sgd"](parts[:4]), OPTIMIZERS["adam"](parts[4:])
            for step in range(3):
                first.zero_grad()
                second.zero_grad()
                loss_of(model, step).backward()
                first.step()
                second.step()
        bystander = network(1)
        train(bystander, OPTIMIZERS["sgd"](bystander.parameters()), range(2))
    require_zeros(model, masks)
    assert all(bool(weights.all()) for name, weights in bystander.named_parameters() if name in masks)


def test_a_release_leaves_nothing_behind() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    for given in (optimizer, None):
        held = lth_deploy.hold(model, given, masks)
        held.release()
        held.release()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
    assert not module._global_optimizer_pre_hooks
    assert not module._global_optimizer_post_hooks
    assert not any(parameter._backward_hooks for parameter in model.parameters())
    assert not any(one._load_state_dict_post_hooks for one in model.modules())
    train(model, optimizer, range(2))
    assert all(model.get_parameter(name).count_nonzero() > np.count_nonzero(mask) for name, mask in masks.items())


def test_an_error_releases_and_passes() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(ZeroDivisionError), lth_deploy.hold(model, optimizer, masks):
        raise ZeroDivisionError
    assert not optimizer._optimizer_step_post_hooks


def test_weights_that_are_changed_outside_any_step_are_found_at_the_end() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())

    def spoiled() -> None:
        with lth_deploy.hold(model, optimizer, masks):
            train(model, optimizer, range(2))
            row, column = np.argwhere(~masks["4.weight"])[0]
            with torch.no_grad():
                model.get_parameter("4.weight")[row, column] = 0.5

    with pytest.raises(TrainingError, match=r"not zero: 4\.weight \(1 weights\);.*outside the step"):
        spoiled()


class _Operators(TorchDispatchMode):
    """Names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_runs_nothing_that_waits_for_a_device() -> None:
    """Reading a value, as `item` and `nonzero` do, waits; filling under a mask, and `and` with one, do not."""

    def operators(masks: dict[str, Any] | None) -> set[str]:
        model = network()
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        held = lth_deploy.hold(model, optimizer, masks) if masks else None
        train(model, optimizer, range(1))
        with _Operators() as seen:
            train(model, optimizer, range(1, 2), clip=1.0)
        if held:
            held.release()
        return seen.names

    added = operators(masks_for(network())) - operators(None)
    filling = {"aten.masked_fill.Scalar", "aten.masked_fill_.Scalar"}
    assert added <= filling | {"aten.view.dtype", "aten.bitwise_and.Tensor", "aten.bitwise_and_.Tensor"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_never_waits() -> None:
    model, masks = network().cuda(), masks_for(network())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5, fused=True)
    scaler = torch.amp.GradScaler("cuda")
    inputs, answers = (one.cuda() for one in batch(0))
    with lth_deploy.hold(model, optimizer, masks):
        for step in range(4):
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = ((model(inputs) - answers) ** 2).mean()
            if step:
                torch.cuda.set_sync_debug_mode("error")
            try:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            scaler.update()
    require_zeros(model, masks)


def test_copies_of_a_held_network_can_be_made_and_stored(tmp_path: Path) -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with lth_deploy.hold(model, optimizer, masks):
        twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
        twin.load_state_dict(network(2).state_dict())
        require_zeros(twin, masks)


def test_a_network_may_change_its_type_under_the_masks() -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with lth_deploy.hold(model, optimizer, masks):
        model.to(torch.bfloat16)
        train(model, optimizer, range(3), loss=lambda one, step: one(batch(step)[0].bfloat16()).square().mean())
    require_zeros(model, masks)


def test_masks_are_stored_and_held_from_the_file(tmp_path: Path) -> None:
    model, masks = network(), masks_for(network())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with lth_deploy.hold(model, optimizer, masks) as held:
        held.save(tmp_path / "masks.safetensors")
        assert 0.4 < held.sparsity < 0.6
    other = network(1)
    with lth_deploy.hold(other, None, tmp_path / "masks.safetensors"):
        train(other, OPTIMIZERS["adam"](other.parameters()), range(3))
    require_zeros(other, masks)


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, lambda one: torch.compile(one, backend="eager")])
def test_wrappers_are_looked_through(wrap: Callable[[Any], Any]) -> None:
    model, masks = network(), masks_for(network())
    wrapped = wrap(model)
    prefixed = {f"module.{name}": mask for name, mask in masks.items()}
    with lth_deploy.hold(wrapped, None, prefixed) as held:
        inner = getattr(wrapped, "module", None) or wrapped._orig_mod
        train(inner, OPTIMIZERS["sgd"](inner.parameters()), range(2))
    assert list(held.masks) == list(masks)
    require_zeros(inner, masks)
