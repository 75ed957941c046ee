"""A state is a copy that comes back bit for bit, from memory and from disk."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.training_spec import OptimizerSpec  # noqa: E402
from lth_deploy.errors import DataError  # noqa: E402
from lth_deploy.training.optimizer import build_optimizer  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import ToyBatches, ToyDetector, build  # noqa: E402

OPTIMIZERS = {
    "sgd": OptimizerSpec(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.01),
    "plain": OptimizerSpec(name="sgd", lr=0.05, momentum=0.0),
    "adamw": OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.01),
}


def train(model: Any, optimizer: Any, steps: range) -> None:
    model.train()
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        images, targets = ToyBatches().batch(step)
        sum(model(images, targets).values()).backward()
        optimizer.step()


def trained(spec: OptimizerSpec, steps: int = 3, layout: Any = torch.channels_last) -> tuple[ToyDetector, Any]:
    model = build(0).to(memory_format=layout)
    optimizer = build_optimizer(model, spec)
    train(model, optimizer, range(steps))
    return model, optimizer


def assert_equal(first: TrainingState, second: TrainingState) -> None:
    assert first.step == second.step
    for mine, other in ((first.model, second.model), (first.optimizer, second.optimizer)):
        assert mine.keys() == other.keys()
        for name in mine:
            assert mine[name].dtype == other[name].dtype, name
            assert torch.equal(mine[name], other[name]), name
    assert first.scaler == second.scaler


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_captured_does_not_follow_the_live_model(name: str) -> None:
    """Released code kept `state_dict()`, whose tensors are the live weights."""
    model, optimizer = trained(OPTIMIZERS[name])
    state = TrainingState.capture(3, model, optimizer)
    before = {key: value.clone() for key, value in (state.model | state.optimizer).items()}
    train(model, optimizer, range(3, 6))
    assert not torch.equal(model.stem.weight.detach(), before["stem.weight"])
    for key, value in before.items():
        assert torch.equal((state.model | state.optimizer)[key], value), key
    live = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert not live & {tensor.untyped_storage().data_ptr() for tensor in state.model.values()}


def test_restoring_does_not_tie_the_model_to_the_state() -> None:
    model, optimizer = trained(OPTIMIZERS["sgd"])
    state = TrainingState.capture(3, model, optimizer)
    before = {key: value.clone() for key, value in state.optimizer.items()}
    state.restore(model, optimizer)
    train(model, optimizer, range(3, 6))
    for key, value in before.items():
        assert torch.equal(state.optimizer[key], value), key


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_training_on_from_disk_equals_training_through(name: str, layout: Any, tmp_path: Path) -> None:
    through, through_optimizer = trained(OPTIMIZERS[name], 7, layout)
    model, optimizer = trained(OPTIMIZERS[name], 4, layout)
    TrainingState.capture(4, model, optimizer).save(tmp_path / "state.safetensors")
    loaded = TrainingState.load(tmp_path / "state.safetensors")
    assert_equal(loaded, TrainingState.capture(4, model, optimizer))
    fresh = build(99).to(memory_format=layout)
    fresh_optimizer = build_optimizer(fresh, OPTIMIZERS[name])
    train(fresh, fresh_optimizer, range(2))  # whatever was there before must not matter
    loaded.restore(fresh, fresh_optimizer)
    assert_equal(TrainingState.capture(4, fresh, fresh_optimizer), loaded)
    train(fresh, fresh_optimizer, range(4, 7))
    expected = TrainingState.capture(7, through, through_optimizer)
    assert_equal(TrainingState.capture(7, fresh, fresh_optimizer), expected)
    assert bool(expected.optimizer) == (name != "plain")
    assert expected.model["norm.num_batches_tracked"] == 7


def test_weights_only_leaves_the_optimizer_fresh() -> None:
    model, optimizer = trained(OPTIMIZERS["sgd"])
    TrainingState.capture(3, model, optimizer).weights_only().restore(model, optimizer)
    assert not any(value.any() for value in TrainingState.capture(0, model, optimizer).optimizer.values())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_masking_zeroes_weights_and_their_optimizer_state(name: str) -> None:
    model, optimizer = trained(OPTIMIZERS[name])
    state = TrainingState.capture(3, model, optimizer)
    mask = torch.rand(model.stem.weight.shape) < 0.5
    masked = state.masked({"stem.weight": mask})
    slots = [key for key in state.optimizer if key.startswith("stem.weight|") and state.optimizer[key].ndim]
    assert slots
    for before, after in [(state.model["stem.weight"], masked.model["stem.weight"])] + [
        (state.optimizer[slot], masked.optimizer[slot]) for slot in slots
    ]:
        assert not after[~mask].view(torch.int32).any()  # not even the sign of -0.0
        assert torch.equal(after[mask], before[mask])
        assert before[~mask].any()
    assert torch.equal(
        masked.optimizer["fc.weight|" + slots[0].split("|")[1]], state.optimizer["fc.weight|" + slots[0].split("|")[1]]
    )


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no metadata", "no step", "foreign tensor"])
def test_damaged_files_are_refused(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "state.safetensors"
    TrainingState.capture(3, *trained(OPTIMIZERS["sgd"])).save(file)
    whole = file.read_bytes()
    tensors = {"model/stem.weight": torch.zeros(2)}
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_bytes(b"\xff" * 64)
    elif damage == "no metadata":
        save_file(tensors, file)
    elif damage == "no step":
        save_file(tensors, file, metadata={"state": '{"scaler": {}}'})
    else:
        save_file({"other/x": torch.zeros(1)}, file, metadata={"state": '{"step": 1, "scaler": {}}'})
    with pytest.raises(DataError, match=r"state\.safetensors"):
        TrainingState.load(file)


def test_a_missing_file_and_a_foreign_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no saved state"):
        TrainingState.load(tmp_path / "nothing.safetensors")
    state = TrainingState.capture(0, torch.nn.Linear(2, 2))
    with pytest.raises(DataError, match="does not fit"):
        state.restore(build(0))


def test_a_parameter_whose_first_gradient_comes_late_trains() -> None:
    model = build(0)
    optimizer = build_optimizer(model, OPTIMIZERS["sgd"])
    for step in range(2):
        optimizer.zero_grad()
        model.fc.weight.square().sum().backward()
        if step:
            model.stem.weight.square().sum().backward()
        optimizer.step()
    assert TrainingState.capture(2, model, optimizer).optimizer["stem.weight|momentum_buffer"].any()


def test_norms_and_biases_are_not_decayed() -> None:
    model = build(0)
    optimizer = build_optimizer(model, OPTIMIZERS["adamw"])
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name for name, p in model.named_parameters() if decay[id(p)]} == {"stem.weight", "up.weight", "fc.weight"}


def test_a_checkpoint_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.safetensors"
    state = TrainingState.capture(7, model, optimizer, memory={"empty": torch.empty(0), "scalar": torch.tensor(3)})
    state.save(path, with_digest=True)
    assert TrainingState.load(path).step == 7
    whole = path.read_bytes()
    for place in range(8, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = TrainingState.load(path)
        except DataError:
            continue
        # A flipped bit in the key "digest" itself, or in white space, changes nothing that counts.
        assert found.step == state.step
        assert all(torch.equal(found.model[name], tensor) for name, tensor in state.model.items())
        assert all(torch.equal(found.optimizer[name], tensor) for name, tensor in state.optimizer.items())
        assert all(torch.equal(found.memory[name], tensor) for name, tensor in state.memory.items())


def test_a_checkpoint_of_an_earlier_version_is_taken_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    state = TrainingState.capture(7, torch.nn.Linear(3, 2))
    caplog.set_level("INFO", logger="lth_deploy")
    state.save(path)
    assert TrainingState.load(path).step == 7
    assert not caplog.records
    assert TrainingState.load(path, needs_digest=True).step == 7
    assert "has no digest, since an earlier version wrote it" in caplog.text
    caplog.clear()
    state.save(path, with_digest=True)
    TrainingState.load(path, needs_digest=True)
    assert not caplog.records
