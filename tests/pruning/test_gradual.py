"""Gradual pruning: the cubic's points are reached, what fell stays out, and no kill changes the outcome."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.search_spec import CubicSpec  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import Masks, load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.search.gradual import RaiseSparsity, cubic_points, cubic_sparsity  # noqa: E402
from lth_deploy.training.session import Session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.subsets import is_subset  # noqa: E402
from tests.pruning.toy_search import REWIND, TOTAL, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import Spy, finish, finish_though_killed  # noqa: E402

CUBIC = {"schedule": "cubic", "cubic": {"begin": 0.0, "end": 0.8, "every": 1}}


def gradual_recipe(**pruning: Any) -> Any:
    return toy_recipe(pruning={**CUBIC, **pruning}, training={"checkpoint_seconds": 1e-9})


def test_the_cubic_is_that_of_the_paper() -> None:
    assert [cubic_sparsity(t, 0.8) for t in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.0, 0.7, 0.8, 0.8])


def test_points_lie_where_the_recipe_says_and_the_last_is_the_target() -> None:
    asked: list[tuple[int, float]] = []
    step = 0

    def rank(masks: Masks, target: float) -> Masks:
        asked.append((step + 1, target))
        return masks

    points = cubic_points(CubicSpec(begin=0.1, end=0.5, every=15), range(100, 200), 0.9)
    hook = RaiseSparsity(points, {}, rank, lambda masks: None)
    for step in range(100, 200):
        hook.after_step(step, {})
    # From step 110 to step 150: after 15, 30 and all 40 steps.
    expected = [(125, 15 / 40), (140, 30 / 40), (150, 1.0)]
    assert asked == [(at, pytest.approx(cubic_sparsity(share, 0.9))) for at, share in expected]


@pytest.mark.parametrize(("updates", "every"), [(1, 40), (4, 10), (13, 3), (1000, 1)])
def test_a_number_of_updates_is_spread_evenly(updates: int, every: int) -> None:
    points = cubic_points(CubicSpec(begin=0.1, end=0.5, updates=updates), range(100, 200), 0.9)
    asked = [done - 110 for done in points]
    assert asked == sorted({*range(every, 41, every), 40})


def test_a_ticket_ends_at_its_level_from_masks_that_only_shrink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Masks] = []
    prune = Session.prune

    def spying(self: Session, masks: Any) -> None:
        prune(self, masks)
        seen.append({name: mask.numpy().copy() for name, mask in masks.items()})
        for name, mask in masks.items():
            assert not self.model.get_parameter(name)[~mask].any()
            momentum = self.optimizer.state[self.model.get_parameter(name)]["momentum_buffer"]
            assert not momentum[~mask].any()

    monkeypatch.setattr(Session, "prune", spying)
    search = toy_search(tmp_path / "run", gradual_recipe(levels=[0.8]))
    search.execute()
    assert len(seen) == 4  # of the five steps after the rewind point, those in the first 80 %
    assert all(is_subset(inner, outer) for outer, inner in itertools.pairwise(seen))
    total = sum(mask.size for mask in seen[0].values())
    assert [sparsity(masks) for masks in seen] == pytest.approx(
        [cubic_sparsity(share, 0.8) for share in (0.25, 0.5, 0.75, 1.0)], abs=1 / total
    )
    final = load_masks(search.run.trial("level_80").mask)
    assert all(np.array_equal(final[name], seen[-1][name]) for name in final)
    weights = TrainingState.load(search.run.trial("level_80").weights)
    for name, mask in final.items():
        assert not weights.model[name].numpy()[~mask].any()
    assert not weights.memory


def test_every_level_is_a_training_of_its_own_from_the_restart_point(tmp_path: Path) -> None:
    spy = Spy()
    search = toy_search(tmp_path / "run", gradual_recipe(), batches=spy, build=spy.build)
    search.execute()
    snapshot = TrainingState.load(search.run.rewind)
    for start in spy.starts()[1:]:
        assert all(torch.equal(value, snapshot.model[name]) for name, value in start.items())
    assert spy.steps == [*range(TOTAL), *range(REWIND, TOTAL), *range(REWIND, TOTAL)]


@pytest.mark.parametrize("criterion", ["magnitude", "movement", "snip"])
def test_a_gradual_run_that_dies_between_steps_ends_bit_identical(tmp_path: Path, criterion: str) -> None:
    recipe = gradual_recipe(criterion=criterion)
    assert finish_though_killed(tmp_path / "killed", recipe, 2) == finish(tmp_path / "whole", recipe)


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ({"cubic": {"begin": 0.8, "end": 0.5}}, "begin 0.8 is not before end 0.5"),
        ({"ranked": "initial"}, "schedule 'cubic' ranks weights in training"),
        ({"structure": "2:4", "levels": [0.5]}, "leave allocation, share_of, block_score, keep_at_least, schedule out"),
        ({"structure": "2:4", "levels": [0.5], "schedule": "levels", "block_score": "max"}, "leave allocation"),
        ({"structure": "2:4", "levels": [0.8], "schedule": "levels"}, r"levels must be \[0.5\]"),
    ],
)
def test_what_cannot_be_combined_is_refused(pruning: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        gradual_recipe(**pruning)
