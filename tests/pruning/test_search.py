"""The loop over trials: rewinds are exact, nothing is done twice, and no kill changes a bit of the outcome."""

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy import storage  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.errors import DataError, RecipeError, TrainingError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.ranking.allocation import prune  # noqa: E402
from lth_deploy.pruning.ranking.criteria import magnitude  # noqa: E402
from lth_deploy.run.directory import RunDirectory, read_metrics  # noqa: E402
from lth_deploy.structures import STRUCTURES  # noqa: E402
from lth_deploy.training.hooks import SaveCheckpoint, StopRequested  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import REWIND, TOTAL, ToyBatches, build, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import Killed, Spy, dies_at, finish, finish_though_killed, outcome  # noqa: E402

CONTROLS = {"random": [0.8], "reinit": [0.5]}
QUANTIZATION = {"levels": [0.0, 0.8], "steps": 4, "calibration_batches": 1}


def test_a_ticket_starts_from_the_snapshot_bit_for_bit(tmp_path: Path) -> None:
    """Released code 'rewound' to a reference to the live weights, which were those of the end of training."""
    spy = Spy()
    search = toy_search(tmp_path / "run", batches=spy, build=spy.build)
    search.execute()
    run = search.run
    snapshot = TrainingState.load(run.rewind)
    assert snapshot.step == REWIND
    # The snapshot is what the dense training held when k steps were done, norm statistics included ...
    for name, value in spy.seen[REWIND].items():
        assert torch.equal(snapshot.model[name], value), name
    final = TrainingState.load(run.trial("dense").weights)
    assert not torch.equal(snapshot.model["stem.weight"], final.model["stem.weight"])
    # ... and what each ticket starts with, under its mask.
    _, *starts = spy.starts()
    for start, level in zip(starts, ("level_50", "level_80"), strict=True):
        masks = load_masks(run.trial(level).mask)
        for name, value in start.items():
            keep = torch.from_numpy(masks[name]) if name in masks else torch.ones(value.shape, dtype=torch.bool)
            assert torch.equal(value[keep], snapshot.model[name][keep]), name
            assert not value[~keep].any(), name


def test_the_mask_ranks_trained_weights_not_rewound_ones(tmp_path: Path) -> None:
    """Released code loaded the rewind weights first and ranked those."""
    search = toy_search(tmp_path / "run")
    search.execute()
    run, positions = search.run, search.positions(build(0))

    def ranked(state: TrainingState) -> dict[str, Any]:
        model = build(0)
        state.restore(model)
        layers = search.trials.layers(model, positions)
        ones = {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in layers}
        return prune(layers, ones, 0.5, magnitude, "global", STRUCTURES["single"])

    got = load_masks(run.trial("level_50").mask)
    trained, rewound = ranked(search.trials.state("dense")), ranked(search.trials.state("rewind"))
    assert all(np.array_equal(got[name], trained[name]) for name in got)
    assert any(not np.array_equal(got[name], rewound[name]) for name in got)


def test_pruned_weights_are_positive_zero_in_every_stored_ticket(tmp_path: Path) -> None:
    search = toy_search(tmp_path / "run", toy_recipe(controls=CONTROLS))
    search.execute()
    for name in ("level_50", "level_80", "random_80", "reinit_50"):
        trial = search.run.trial(name)
        state = TrainingState.load(trial.weights)
        for layer, mask in load_masks(trial.mask).items():
            assert not state.model[layer].numpy()[~mask].view(np.uint32).any(), f"{name}: {layer}"
        stem = "stem.weight"
        assert state.model[stem].numpy()[load_masks(trial.mask)[stem]].all(), name


def test_controls_share_what_they_should(tmp_path: Path) -> None:
    spy = Spy()
    search = toy_search(tmp_path / "run", toy_recipe(controls=CONTROLS), batches=spy, build=spy.build)
    search.execute()
    ticket, random = (load_masks(search.run.trial(name).mask) for name in ("level_80", "random_80"))
    assert {n: int(m.sum()) for n, m in random.items()} == {n: int(m.sum()) for n, m in ticket.items()}
    assert any(not np.array_equal(random[name], ticket[name]) for name in ticket)
    half, again = (load_masks(search.run.trial(name).mask) for name in ("level_50", "reinit_50"))
    assert all(np.array_equal(half[name], again[name]) for name in half)
    # New weights: neither the dense training's own, nor its pretrained ones.
    fresh = build(search.recipe.training.seed + 1, False).state_dict()
    reinit = spy.starts()[2]
    keep = torch.from_numpy(half["stem.weight"])
    assert torch.equal(reinit["stem.weight"][keep], fresh["stem.weight"][keep])
    snapshot = TrainingState.load(search.run.rewind)
    assert torch.equal(spy.starts()[4]["fc.bias"], snapshot.model["fc.bias"])


def test_a_ticket_is_quantized_from_where_its_training_ended(tmp_path: Path) -> None:
    spy = Spy()
    search = toy_search(tmp_path / "run", toy_recipe(quantization=QUANTIZATION), batches=spy, build=spy.build)
    search.execute()
    run = search.run
    ticket, quantized = (TrainingState.load(run.trial(name).weights).model for name in ("level_80", "level_80_int8"))
    result = run.trial("level_80_int8").read_result()
    assert (result.kind, result.parent, result.sparsity) == ("int8", "level_80", 0.8)
    assert result.sparsity_prunable == run.trial("level_80").read_result().sparsity_prunable
    # It goes on behind the training's last step, with batches that no trial before has seen.
    assert result.steps == (TOTAL, TOTAL + 4)
    assert spy.steps[-4:] == [*range(TOTAL, TOTAL + 4)]
    # The norm is folded, and the mask holds: whatever the ticket kept may move, and does.
    assert not [name for name in quantized if name.startswith("norm.")]
    for name, mask in load_masks(run.trial("level_80_int8").mask).items():
        assert np.array_equal(mask, load_masks(run.trial("level_80").mask)[name])
        assert not quantized[name].numpy()[~mask].view(np.uint32).any(), name
        assert quantized[name].numpy()[mask].all(), name
    assert not torch.equal(quantized["fc.weight"], ticket["fc.weight"])
    assert torch.isfinite(quantized["stem.input_range"]).all()
    assert torch.isfinite(quantized["up.input_range"]).all()
    dense = run.trial("dense_int8")
    assert dense.read_result().parent == "dense"
    assert not dense.mask.exists()


@pytest.mark.parametrize(
    "pruning",
    [{"schedule": "one_shot"}, {"schedule": "cubic", "cubic": {"every": 2}}, {"criterion": "movement"}],
    ids=lambda pruning: next(iter(pruning.values())),
)
def test_tickets_of_every_schedule_are_quantized_under_their_mask(tmp_path: Path, pruning: dict[str, Any]) -> None:
    search = toy_search(tmp_path / "run", toy_recipe(pruning=pruning, quantization=QUANTIZATION))
    search.execute()
    ticket, quantized = (search.run.trial(name) for name in ("level_80", "level_80_int8"))
    weights = search.trials.state(quantized.name).model
    for name, mask in load_masks(quantized.mask).items():
        assert np.array_equal(mask, load_masks(ticket.mask)[name])
        assert not weights[name].numpy()[~mask].any(), name
    assert sparsity(load_masks(quantized.mask)) == pytest.approx(0.8, abs=0.01)


def test_the_stored_quantized_trial_is_the_one_that_was_scored(tmp_path: Path) -> None:
    images = [torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1))]
    answers: list[Any] = []

    def score(model: Any) -> Any:
        with torch.no_grad():
            answers.append(model.eval()(images))
        return {"val": {"bbox": {"AP": 0.5}}}

    search = toy_search(tmp_path / "run", toy_recipe(quantization=QUANTIZATION), score=score)
    search.execute()
    again = search.trials.trained("level_80_int8").eval()
    assert torch.equal(again(images), answers[-1])
    # It computes with rounded numbers, which the same weights without its ranges do not.
    plain = fold_norm(build(0)).module
    plain.load_state_dict(again.state_dict(), strict=False)
    assert not torch.equal(plain(images), answers[-1])


def test_finished_trials_are_not_run_again(tmp_path: Path) -> None:
    before = finish(tmp_path / "run", toy_recipe())
    spy = Spy()
    assert finish(tmp_path / "run", toy_recipe(), batches=spy) == before
    assert spy.steps == []


@pytest.mark.parametrize("optimizer", [{"name": "sgd"}, {"name": "adamw", "lr": 1e-2}])
@pytest.mark.parametrize(
    ("restart", "budget"), [("weights", "continue"), ("weights", "full"), ("learning_rate", "full")]
)
def test_a_run_that_dies_between_steps_ends_bit_identical(
    tmp_path: Path, optimizer: dict[str, Any], restart: str, budget: str
) -> None:
    """Released code, when resumed, pruned the half-trained ticket again and kept its step."""
    recipe = toy_recipe(
        training={"checkpoint_seconds": 1e-9, "optimizer": optimizer},
        pruning={"restart": restart, "budget": budget},
        controls=CONTROLS,
        quantization=QUANTIZATION,
    )
    assert finish_though_killed(tmp_path / "killed", recipe, 2) == finish(tmp_path / "whole", recipe)


def test_a_kill_at_any_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe(
        pruning={"levels": [0.5]},
        controls={"random": [0.5]},
        quantization={**QUANTIZATION, "levels": [0.5], "steps": 2},
    )
    expected = finish(tmp_path / "whole", recipe)
    write = storage.write_atomically
    writes = 0

    def dying(path: Path, fill: Callable[[Path], None]) -> None:
        nonlocal writes
        writes += 1
        if writes == deadly:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(path.with_name(f".{path.name}.tmp-1"))  # the temporary file is there, the rename never comes
            raise Killed
        write(path, fill)

    for deadly in itertools.count(1):
        writes, path = 0, tmp_path / f"kill{deadly}"
        path.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(storage, "write_atomically", dying)
            try:
                toy_search(path, recipe).execute()
                break
            except Killed:
                pass
        assert finish(path, recipe) == expected, f"killed at write {deadly}"
    assert deadly > 15


def test_a_deadline_saves_and_a_later_call_goes_on(tmp_path: Path) -> None:
    expected = finish(tmp_path / "whole", toy_recipe())
    stops = 0
    while True:
        search = toy_search(tmp_path / "short", deadline=time.monotonic())
        try:
            search.execute()
            break
        except StopRequested:
            stops += 1
            assert stops < 1000, "calls do not get on"
    # One step a call, so that every call gets on.
    assert stops == TOTAL + 2 * (TOTAL - REWIND)
    assert outcome(tmp_path / "short") == expected


def test_an_interrupted_training_records_every_step_once(tmp_path: Path) -> None:
    recipe = toy_recipe(training={"steps": 60, "checkpoint_seconds": 1e-9}, pruning={"levels": [0.5]})
    for _ in range(20):
        spy = Spy(dies_at(17))
        search = toy_search(tmp_path / "run", recipe, total_steps=60, batches=spy, build=spy.build)
        with contextlib.suppress(Killed):
            search.execute()
            break
    steps = [record["step"] for record in read_metrics(search.run.trial("dense").metrics)]
    assert steps == [20, 40, 60]


def test_a_loss_that_is_not_finite_stops_before_any_ranking(tmp_path: Path) -> None:
    class Sick(ToyBatches):
        def batch(self, step: int) -> Any:
            images, targets = super().batch(step)
            return images, [{"answer": target["answer"] * float("nan")} for target in targets]

    search = toy_search(tmp_path / "run", batches=Sick())
    with pytest.raises(TrainingError, match=r"between step 0 and step 7.*start a new run"):
        search.execute()
    assert not search.run.trial("dense").weights.exists()
    assert not search.run.trial("dense").checkpoint.exists()


@pytest.mark.parametrize("victim", ["mask", "weights"])
def test_a_parent_that_was_changed_is_refused(tmp_path: Path, victim: str) -> None:
    recipe = toy_recipe()
    path = tmp_path / "run"
    finish(path, recipe)
    run = RunDirectory.open(path)
    _forget(run, "level_80")
    file = getattr(run.trial("level_50"), victim)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match="has changed since it was committed"):
        finish(path, recipe)


def test_a_damaged_checkpoint_costs_its_trial_only(tmp_path: Path) -> None:
    recipe = toy_recipe()
    expected = finish(tmp_path / "whole", recipe)
    path = tmp_path / "run"
    finish(path, recipe)
    run = RunDirectory.open(path)
    _forget(run, "level_80")
    run.trial("level_80").checkpoint.write_bytes(b"\x10\0\0\0\0\0\0\0{torn")
    assert finish(path, recipe) == expected


@pytest.mark.parametrize("damaged", [False, True])
def test_a_checkpoint_with_a_flipped_bit_is_not_gone_on_with(
    tmp_path: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = toy_recipe(training={"checkpoint_seconds": 1e-9}, pruning={"levels": [0.8]}, controls={"random": []})
    save, kept = SaveCheckpoint.save, {}

    def keeping(self: SaveCheckpoint, step: int) -> None:
        save(self, step)
        kept.setdefault(self._path, self._path.read_bytes())

    monkeypatch.setattr(SaveCheckpoint, "save", keeping)
    path = tmp_path / "run"
    expected = finish(path, recipe)
    run = RunDirectory.open(path)
    checkpoint = run.trial("level_80").checkpoint
    data = bytearray(kept[checkpoint])
    data[-1] ^= 1 if damaged else 0
    _forget(run, "level_80")
    checkpoint.write_bytes(data)
    caplog.set_level("INFO", logger="lth_deploy")
    assert finish(path, recipe) == expected
    assert ("its digest does not fit; level_80 starts again" in caplog.text) == damaged
    assert ("level_80: resuming at step" in caplog.text) != damaged


def _forget(run: RunDirectory, name: str) -> None:
    """Make a trial unfinished, as it is right before its commit."""
    manifest = run.manifest()
    manifest["files"] = {k: v for k, v in manifest["files"].items() if f"/{name}/" not in k}
    storage.write_json(run.manifest_file, manifest)


def test_coarse_blocks_leave_every_layer_some_weights_and_refuse_what_that_forbids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coarse = {"structure": "16x4", "levels": [0.5, 0.8]}
    search = toy_search(tmp_path / "run", toy_recipe(pruning=coarse))
    with caplog.at_level(logging.INFO):
        search.execute()
    for level in (50, 80):
        masks = load_masks(search.run.trial(f"level_{level}").mask)
        assert all(mask.any() for mask in masks.values())
        assert sparsity(masks) >= level / 100
    # Which layers: training rounds otherwise on another processor.
    assert re.search(r"pruning.keep_at_least: [12] of 3 layers would have kept", caplog.text)
    too_many = toy_search(tmp_path / "other", toy_recipe(pruning={**coarse, "levels": [0.5, 0.9]}))
    with pytest.raises(RecipeError, match=r"a sparsity of 0.9 cannot be reached in blocks of 16x4 .* is 0.83"):
        too_many.check()
    assert not too_many.run.trial("dense").finished
    bare = toy_search(tmp_path / "bare", toy_recipe(pruning={**coarse, "keep_at_least": 0}))
    bare.execute()
    assert not all(mask.any() for mask in load_masks(bare.run.trial("level_80").mask).values())
