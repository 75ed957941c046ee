"""Early masks: they are those of the weights at their step, cost the training nothing, and survive a kill."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.errors import DataError, RecipeError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.ranking.allocation import zero_macs  # noqa: E402
from lth_deploy.pruning.search.early_files import EarlyFiles  # noqa: E402
from lth_deploy.pruning.search.early_masks import overlap  # noqa: E402
from lth_deploy.run.directory import RunDirectory, read_metrics  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.search.shared_dense import adopt_dense, dense_key  # noqa: E402
from tests.pruning.toy_search import TOTAL, ToyBatches, build, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import Killed  # noqa: E402
from tests.workflow.ticket_runs import outcome  # noqa: E402

LEVELS = (0.5, 0.8)


def early(take: int | None = None, every: int = 3, **pruning: Any) -> Any:
    return toy_recipe(
        pruning={"early_masks": {"every": every, "take": take}, "schedule": "one_shot", **pruning},
        controls={"random": [0.8]},
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("early") / "run"
    toy_search(path, early()).execute()
    return RunDirectory.open(path)


def files_of(run: RunDirectory) -> EarlyFiles:
    return EarlyFiles(run.trial("dense"))


def test_masks_come_every_few_steps_and_at_the_end(recorded: RunDirectory) -> None:
    files = files_of(recorded)
    lines = read_metrics(files.lines)
    assert [(line["step"], line["level"]) for line in lines] == [
        (step, level) for step in (3, 6, TOTAL) for level in LEVELS
    ]
    for line in lines:
        masks = load_masks(files.mask(line["step"], line["level"]))
        assert sparsity(masks) == pytest.approx(line["level"], abs=0.01)
        last = load_masks(files.mask(TOTAL, line["level"]))
        assert line["overlap"] == pytest.approx(overlap(masks, last))
    assert lines[0]["changed"] is None
    before, after = (load_masks(files.mask(step, 0.5)) for step in (3, 6))
    assert lines[2]["changed"] == pytest.approx(1 - overlap(before, after))
    assert [line["overlap"] for line in lines[-2:]] == [1.0, 1.0]
    assert lines[0]["overlap"] < 1
    for file in (files.lines, *files.masks()):
        recorded.verify(file)


def test_the_last_mask_is_the_tickets_and_an_early_one_keeps_the_largest_weights_of_its_step(
    recorded: RunDirectory, tmp_path: Path
) -> None:
    ticket = load_masks(recorded.trial("level_80").mask)
    last = load_masks(files_of(recorded).mask(TOTAL, 0.8))
    assert all(np.array_equal(ticket[name], last[name]) for name in ticket)
    # The state to rewind to is that of a step, too.
    toy_search(tmp_path / "run", early(every=3, rewind={"step": 3})).execute()
    run = RunDirectory.open(tmp_path / "run")
    weights = TrainingState.load(run.rewind).model
    masks = load_masks(files_of(run).mask(3, 0.5))
    kept = min(float(weights[name].abs()[torch.from_numpy(mask)].min()) for name, mask in masks.items())
    pruned = max(float(weights[name].abs()[torch.from_numpy(~mask)].max()) for name, mask in masks.items())
    assert kept >= pruned


def test_multiplications_are_counted_on_the_network_of_the_step(tmp_path: Path) -> None:
    def positions(model: Any) -> dict[str, float]:
        """As a detector's: measured in evaluation mode, and another number for other weights."""
        model.eval()
        return {
            "stem.weight": 36.0,
            "up.weight": 30 + 6 * float(model.fc.weight.detach().sum().tanh()),
            "fc.weight": 1.0,
        }

    toy_search(tmp_path / "run", early(allocation="macs"), positions=positions).execute()
    run = RunDirectory.open(tmp_path / "run")
    layers = toy_search(tmp_path / "run", early(allocation="macs")).trials.layers
    for step, state in ((3, TrainingState.load(run.rewind)), (TOTAL, TrainingState.load(run.trial("dense").weights))):
        model = build(0)
        state.restore(model)
        masks = load_masks(files_of(run).mask(step, 0.5))
        assert 0.5 <= zero_macs(layers(model, positions(model)), masks) < 0.52
    ticket, last = load_masks(run.trial("level_80").mask), load_masks(files_of(run).mask(TOTAL, 0.8))
    assert all(np.array_equal(ticket[name], last[name]) for name in ticket)
    # Counting leaves the training as it was.
    plain = toy_recipe(pruning={"schedule": "one_shot", "allocation": "macs"}, controls={"random": [0.8]})
    toy_search(tmp_path / "plain", plain, positions=positions).execute()
    ours, theirs = outcome(run.path), outcome(tmp_path / "plain")
    assert {name: ours[name] for name in theirs} == theirs


def test_recording_changes_no_weight(recorded: RunDirectory, tmp_path: Path) -> None:
    plain = toy_recipe(pruning={"schedule": "one_shot"}, controls={"random": [0.8]})
    toy_search(tmp_path / "run", plain).execute()
    ours, theirs = outcome(recorded.path), outcome(tmp_path / "run")
    assert {name: ours[name] for name in theirs} == theirs


def test_a_ticket_takes_the_mask_of_the_step_that_is_asked_for(tmp_path: Path) -> None:
    toy_search(tmp_path / "run", early(take=3)).execute()
    run = RunDirectory.open(tmp_path / "run")
    for level, name in zip(LEVELS, ("level_50", "level_80"), strict=True):
        ticket, taken = load_masks(run.trial(name).mask), load_masks(files_of(run).mask(3, level))
        assert all(np.array_equal(ticket[layer], taken[layer]) for layer in ticket)
        rewound = TrainingState.load(run.rewind)
        assert rewound.step == 3
    random = load_masks(run.trial("random_80").mask)
    assert sparsity(random) == pytest.approx(0.8, abs=0.01)


def test_a_recording_that_dies_at_any_step_ends_the_same(recorded: RunDirectory, tmp_path: Path) -> None:
    class Dying(ToyBatches):
        calls = 0

        def batch(self, step: int) -> Any:
            self.calls += 1
            if self.calls > 2:
                raise Killed
            return super().batch(step)

    recipe = early()
    often = recipe.model_copy(update={"training": recipe.training.model_copy(update={"checkpoint_seconds": 1e-9})})
    for _ in range(40):
        with contextlib.suppress(Killed):
            toy_search(tmp_path / "run", often, batches=Dying()).execute()
            break
    run = RunDirectory.open(tmp_path / "run")
    assert files_of(run).lines.read_text() == files_of(recorded).lines.read_text()
    for ours, theirs in zip(files_of(run).masks(), files_of(recorded).masks(), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()


def test_rows_that_take_other_steps_share_the_dense_training(recorded: RunDirectory, tmp_path: Path) -> None:
    recipe = early(take=6)
    assert dense_key(recipe) == dense_key(recorded.recipe())
    assert dense_key(early(every=4)) != dense_key(recipe)
    assert dense_key(early(allocation="per_layer")) != dense_key(recipe)
    run = RunDirectory.create(tmp_path / "run", recipe)
    adopt_dense(run, recorded.path)
    search = toy_search(tmp_path / "run", recipe)
    search.execute()
    assert files_of(run).lines.read_bytes() == files_of(recorded).lines.read_bytes()
    taken = load_masks(files_of(recorded).mask(6, 0.8))
    assert all(np.array_equal(mask, taken[name]) for name, mask in load_masks(run.trial("level_80").mask).items())


def test_a_mask_that_was_changed_is_refused(tmp_path: Path) -> None:
    search = toy_search(tmp_path / "run", early(take=3))
    plans = []
    execute = type(search)._execute

    def spoiling(self: Any, plan: Any) -> None:
        plans.append(plan.name)
        if plan.name == "level_50":
            file = files_of(self.run).mask(3, 0.5)
            file.write_bytes(file.read_bytes()[:-1] + b"\x55")
        execute(self, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(search), "_execute", spoiling)
        with pytest.raises(DataError, match="has changed since it was committed"):
            search.execute()


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ({"early_masks": {"every": 3, "take": 4}}, "take 4 is no multiple of every 3"),
        ({"early_masks": {"every": 0}}, "greater than 0"),
        ({"criterion": "snip"}, "criterion must be magnitude or lamp or random"),
        ({"ranked": "initial"}, "ranked must be trained"),
        ({"schedule": "cubic", "early_masks": {"every": 3, "take": 3}}, "leave schedule cubic out"),
        ({"schedule": "levels", "early_masks": {"every": 3, "take": 3}}, "set schedule one_shot, or one level"),
    ],
)
def test_what_has_no_early_masks_is_refused(pruning: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        toy_recipe(pruning={"early_masks": {"every": 3}, "schedule": "one_shot", **pruning})


@pytest.mark.parametrize("masks", [{"every": TOTAL + 1}, {"every": 3, "take": 3 * TOTAL}])
def test_a_step_after_the_end_is_refused_before_training(tmp_path: Path, masks: dict[str, int]) -> None:
    recipe = toy_recipe(pruning={"early_masks": masks, "schedule": "one_shot"})
    with pytest.raises(RecipeError, match=f"is after the end of the training, step {TOTAL}"):
        toy_search(tmp_path / "run", recipe).check()
