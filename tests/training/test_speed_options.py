"""Precision, layout, compiling and parts of a step: faster ways to the same training, under exact masks."""

import logging
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.errors import TrainingError  # noqa: E402
from lth_deploy.run.directory import RunDirectory, Trial  # noqa: E402
from lth_deploy.training import compiled  # noqa: E402
from lth_deploy.training.hooks import MOST_SKIPPED  # noqa: E402
from lth_deploy.training.session import Session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import ToyBatches, build, toy_recipe  # noqa: E402
from tests.training.ranks.toy import STEPS, SharedBatches, quiet, toy_masks  # noqa: E402

CPU = torch.device("cpu")


def session(path: Path, model: Any, masks: Any = None, **spec: Any) -> Session:
    return Session(toy_recipe(training=spec).training, CPU, model, Trial(RunDirectory(path), "trial"), masks or {})


def run(made: Session, steps: int = STEPS, batches: Any = None) -> dict[str, Any]:
    start = TrainingState.capture(0, made.model)
    made.run(start, range(steps), lambda step: 0.05, batches or SharedBatches())
    return dict(made.capture(steps).model)


@pytest.mark.parametrize(
    "spec",
    [
        {"accumulate": 2},
        {"accumulate": 4, "precision": "bf16"},
        {"channels_last": False},
        {"channels_last": False, "precision": "fp16", "accumulate": 2, "optimizer": {"name": "adamw"}},
    ],
)
def test_masks_are_exact(tmp_path: Path, spec: dict[str, Any]) -> None:
    masks = toy_masks(build(0))
    state = run(session(tmp_path, build(1), masks, **spec), 20)
    for name, mask in masks.items():
        assert not state[name][~mask].any(), name
        assert state[name][mask].all(), name


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(tmp_path: Path, parts: int) -> None:
    def without_norm() -> Any:
        model = quiet(3)
        model.norm = torch.nn.Identity()
        return model

    whole = run(session(tmp_path / "a", without_norm()))
    in_parts = run(session(tmp_path / "b", without_norm(), accumulate=parts))
    for name, tensor in whole.items():
        torch.testing.assert_close(in_parts[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.equal(tensor, without_norm().state_dict()[name]), name


def test_the_layout_is_as_the_recipe_says(tmp_path: Path) -> None:
    for channels_last in (True, False):
        weight = session(tmp_path, torch.nn.Conv2d(4, 4, 3), channels_last=channels_last).model.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


class Overflowing(SharedBatches):
    """Gradients that no scale makes finite, in the steps `bad`."""

    def __init__(self, bad: range) -> None:
        super().__init__()
        self._bad = bad

    def batch(self, step: int) -> Any:
        images, targets = super().batch(step)
        return images, [{"answer": t["answer"] * (torch.inf if step in self._bad else 1.0)} for t in targets]


def test_fp16_leaves_out_steps_that_are_not_finite_and_goes_on(tmp_path: Path) -> None:
    made = session(tmp_path, quiet(3), toy_masks(build(0)), precision="fp16")
    state = run(made, 30, Overflowing(range(5, 5 + MOST_SKIPPED)))
    assert made.stepper.skipped == 0
    assert made.stepper.scaler.get_scale() <= 65536.0 / 2**MOST_SKIPPED
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_fp16_gives_up_after_a_bounded_number_of_steps(tmp_path: Path) -> None:
    made = session(tmp_path, quiet(3), precision="fp16")
    with pytest.raises(TrainingError, match=r"the last 25 steps up to step 26 had gradients .*precision: bf16"):
        run(made, 60, Overflowing(range(2, 60)))
    assert all(tensor.isfinite().all() for tensor in made.model.state_dict().values())


def test_steps_that_were_left_out_are_counted_on_after_an_interruption(tmp_path: Path) -> None:
    made = session(tmp_path, quiet(3), precision="fp16", checkpoint_seconds=1e-9)
    run(made, 20, Overflowing(range(10, 60)))
    again = session(tmp_path, quiet(3), precision="fp16")
    with pytest.raises(TrainingError, match="the last 25 steps up to step 34"):
        run(again, 60, Overflowing(range(10, 60)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_scale_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, precision: str) -> None:
    with pytest.raises(TrainingError, match="stopped being finite between step 0 and step 19"):
        run(session(tmp_path, quiet(3), precision=precision), 30, Overflowing(range(5, 6)))


def test_compiling_is_done_once_and_keeps_the_names_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda model: (seen.append(model), model)[1])
    masks = toy_masks(build(0))
    made = session(tmp_path / "a", quiet(3), masks, compile=True)
    state = run(made)
    assert [type(model).__name__ for model in seen] == ["QuietDetector"]
    plain = run(session(tmp_path / "b", quiet(3), masks))
    assert state.keys() == plain.keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in state.items())


def test_a_network_that_torch_cannot_compile_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise torch._dynamo.exc.InternalTorchDynamoError("no compiler", None)

    monkeypatch.setattr(compiled.torch, "compile", lambda model: fails)
    with pytest.raises(TrainingError, match=r"on this network here \(InternalTorchDynamoError: .*no compiler"):
        run(session(tmp_path, quiet(3), compile=True))


@pytest.mark.slow
def test_a_compiled_network_trains_under_its_masks(tmp_path: Path) -> None:
    masks = toy_masks(build(0))
    state = run(session(tmp_path / "a", quiet(3), masks, compile=True))
    plain = run(session(tmp_path / "b", quiet(3), masks))
    for name, mask in masks.items():
        assert not state[name][~mask].any(), name
        torch.testing.assert_close(state[name], plain[name], rtol=1e-3, atol=1e-5)


def test_a_device_that_waits_for_images_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = session(tmp_path, quiet(3), workers=2)
    with caplog.at_level(logging.WARNING, "lth_deploy"):
        made.stepper.waited = 4.0
        made._report_waiting(100.0)
        assert caplog.messages == []
        made.stepper.waited = 6.0
        made._report_waiting(100.0)
    assert caplog.messages == ["trial: images were not ready for 6 of 100 s (6 %); raise training.workers, now 2"]


def test_waiting_for_images_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lth_deploy.training import loop

    clock = iter(range(1000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    made = session(tmp_path, build(3))
    loop.train(made.stepper, ToyBatches(), range(3), lambda step: 0.0, [])
    assert made.stepper.waited == 3.0
