"""Hooks around the loop: masks hold through every optimizer, and a checkpoint is all that a resume needs."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.training_spec import TrainingSpec  # noqa: E402
from lth_deploy.errors import TrainingError  # noqa: E402
from lth_deploy.run.directory import RunDirectory, Trial  # noqa: E402
from lth_deploy.training.hooks import Hook, KeepMask, KeepState, StopRequested, WatchLoss  # noqa: E402
from lth_deploy.training.loop import Stepper, train  # noqa: E402
from lth_deploy.training.optimizer import build_optimizer  # noqa: E402
from lth_deploy.training.session import Session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import ToyBatches, build, toy_recipe  # noqa: E402

CPU = torch.device("cpu")


def spec(**changes: Any) -> TrainingSpec:
    recipe = toy_recipe(training=changes)
    return recipe.training


def masks_for(model: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(parameter.shape, generator=generator) < 0.4
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
    }


def constant(step: int) -> float:
    return 0.02


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.05},
        {"name": "adamw", "weight_decay": 0.05},
    ],
)
def test_pruned_weights_stay_zero_for_a_hundred_steps(
    optimizer: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    """Released code left gradients unmasked, so the momentum of pruned weights kept growing."""
    model = build(0)
    training = spec(precision=precision, optimizer=optimizer, clip_norm=1.0)
    masks = masks_for(model)
    dense = build(1)
    dense_optimizer = build_optimizer(dense, training.optimizer)
    train(Stepper(dense, dense_optimizer, training, CPU), ToyBatches(), range(5), constant, [])
    # The worst start: dense weights, with momentum everywhere.
    start = TrainingState.capture(0, dense, dense_optimizer)
    session = Session(training, CPU, model, Trial(RunDirectory(tmp_path), "trial"), masks)
    session.run(start, range(100), constant, ToyBatches())
    state = session.capture(100)
    for name, mask in masks.items():
        assert not state.model[name][~mask].any(), name
        assert (state.model[name][mask] != start.model[name][mask]).any(), name
    slots = [key for key, value in state.optimizer.items() if value.ndim > 1]
    assert slots
    for key in slots:
        name = key.rsplit("|", 1)[0]
        assert not state.optimizer[key][~masks[name]].any(), key
        assert state.optimizer[key][masks[name]].any(), key


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_first_step_that_overflows_in_fp16_leaves_no_trace(name: str) -> None:
    training = spec(precision="fp16", optimizer={"name": name, "weight_decay": 0.0})
    model = build(0)
    stepper = Stepper(model, build_optimizer(model, training.optimizer), training, CPU)
    before = model.fc.weight.detach().clone()

    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    train(stepper, ToyBatches(), range(1), constant, [])
    assert stepper.scaler.get_scale() < 2.0**40
    state = TrainingState.capture(1, model, stepper.optimizer)
    assert torch.equal(state.model["fc.weight"], before)
    assert not any(value.any() for value in state.optimizer.values())


def test_frozen_weights_that_are_pruned_stay_zero(tmp_path: Path) -> None:
    """Released code pruned frozen layers that could never retrain; where asked for, that must hold as well."""
    model = build(0)
    model.stem.weight.requires_grad_(False)
    masks = masks_for(model)
    session = Session(spec(), CPU, model, Trial(RunDirectory(tmp_path), "trial"), masks)
    session.run(TrainingState.capture(0, build(1)), range(5), constant, ToyBatches())
    assert not model.stem.weight[~masks["stem.weight"]].any()
    assert model.stem.weight[masks["stem.weight"]].all()


def test_the_mask_is_not_kept_by_weights_alone() -> None:
    """Without the hook the ticket densifies, so the test above could fail."""
    model = build(0)
    masks = masks_for(model)
    TrainingState.capture(0, model).masked(masks).restore(model)
    training = spec()
    stepper = Stepper(model, build_optimizer(model, training.optimizer), training, CPU)
    train(stepper, ToyBatches(), range(1), constant, [])
    assert model.stem.weight[~masks["stem.weight"]].any()


def test_masks_copy_what_they_are_given() -> None:
    model = build(0)
    masks = masks_for(model)
    hook = KeepMask(model, masks)
    wanted = {name: mask.clone() for name, mask in masks.items()}
    for mask in masks.values():
        mask.fill_(True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    hook.after_backward(0)
    for name, parameter in model.named_parameters():
        expected = wanted.get(name, torch.ones(parameter.shape, dtype=torch.bool))
        assert torch.equal(parameter.grad, expected.float()), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_loss_is_found_at_the_next_look(value: float) -> None:
    watch = WatchLoss(every=4)
    for step in range(4):
        watch.after_step(step, {"a": torch.tensor(1.0)})
    watch.after_step(4, {"a": torch.tensor(1.0), "b": torch.tensor(value)})
    watch.after_step(5, {"a": torch.tensor(1.0)})
    watch.after_step(6, {"a": torch.tensor(1.0)})
    with pytest.raises(TrainingError, match="between step 4 and step 7"):
        watch.after_step(7, {"a": torch.tensor(1.0)})


def test_a_bad_loss_never_reaches_a_checkpoint(tmp_path: Path) -> None:
    class Sick(ToyBatches):
        def batch(self, step: int) -> Any:
            images, targets = super().batch(step)
            return images, [{"answer": t["answer"] / (0.0 if step >= 3 else 1.0)} for t in targets]

    trial = Trial(RunDirectory(tmp_path), "trial")
    session = Session(spec(checkpoint_seconds=1e-9), CPU, build(0), trial, {})
    with pytest.raises(TrainingError, match="between step 3 and step 3"):
        session.run(TrainingState.capture(0, build(0)), range(8), constant, Sick())
    assert TrainingState.load(trial.checkpoint).step == 3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_session_resumes_where_it_was_stopped(tmp_path: Path, precision: str) -> None:
    training = spec(precision=precision)
    start = TrainingState.capture(0, build(0))

    def session(name: str) -> Session:
        model = build(7)
        return Session(training, CPU, model, Trial(RunDirectory(tmp_path), name), masks_for(model))

    whole = session("whole")
    whole.run(start, range(6), constant, ToyBatches())
    for done in range(1, 7):
        part = session("part")
        with pytest.raises(StopRequested):
            part.run(start, range(6), constant, ToyBatches(), deadline=0.0)
        assert TrainingState.load(part.trial.checkpoint).step == done
    last = session("part")
    last.run(start, range(6), constant, ToyBatches())
    first, second = whole.capture(6), last.capture(6)
    assert first.scaler == second.scaler
    assert bool(first.scaler) == (precision == "fp16")
    for mine, other in ((first.model, second.model), (first.optimizer, second.optimizer)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_time_of_a_training_includes_what_was_before_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))  # a second passes with every look at the clock
    start = TrainingState.capture(0, build(0))
    spent = []
    for _ in range(3):
        model = build(0)
        session = Session(spec(), CPU, model, Trial(RunDirectory(tmp_path), "trial"), {})
        with pytest.raises(StopRequested):
            session.run(start, range(4), constant, ToyBatches(), deadline=0.0)
        spent.append(TrainingState.load(session.trial.checkpoint).seconds)
    assert spent == [spent[0], 2 * spent[0], 3 * spent[0]]
    assert spent[0] > 0
    assert session.run(start, range(4), constant, ToyBatches()) > spent[-1]


@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_rewind_point_is_kept_exactly_once(at: int) -> None:
    model, training, kept = build(0), spec(), []
    optimizer = build_optimizer(model, training.optimizer)
    hook = KeepState(at, lambda step: TrainingState.capture(step, model, optimizer), kept.append)
    train(Stepper(model, optimizer, training, CPU), ToyBatches(), range(5), constant, [hook])
    (state,) = kept
    assert state.step == at
    assert state.model["norm.num_batches_tracked"] == at
    assert any(value.any() for value in state.optimizer.values()) == (at > 0)


def test_hooks_meet_a_step_in_order() -> None:
    calls: list[str] = []

    class Tell(Hook):
        def before_step(self, step: int) -> None:
            calls.append(f"before {step}")

        def after_backward(self, step: int) -> None:
            calls.append(f"backward {step}")

        def after_step(self, step: int, losses: Any) -> None:
            calls.append(f"after {step}")

    model, training = build(0), spec()
    stepper = Stepper(model, build_optimizer(model, training.optimizer), training, CPU)
    train(stepper, ToyBatches(), range(2, 4), constant, [Tell()])
    assert calls == ["before 2", "backward 2", "after 2", "before 3", "backward 3", "after 3"]


def test_gradients_are_masked_before_they_are_clipped() -> None:
    model, training = build(0), spec(clip_norm=1e-3, optimizer={"name": "sgd", "momentum": 0.0, "weight_decay": 0.0})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    masks = {"stem.weight": torch.zeros(model.stem.weight.shape, dtype=torch.bool)}
    stepper = Stepper(model, build_optimizer(model, training.optimizer), training, CPU)
    train(stepper, ToyBatches(), range(1), lambda step: 1.0, [KeepMask(model, masks)])
    moved = sum(float(((p.detach() - before[n]) ** 2).sum()) for n, p in model.named_parameters()) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-3)
