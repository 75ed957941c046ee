"""Progressive pruning: sparsity rises in rounds of one training, and kept weights go back after each."""

import itertools
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.search_spec import ProgressiveSpec  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.search.gradual import progressive_points  # noqa: E402
from lth_deploy.training.session import Session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.subsets import is_subset  # noqa: E402
from tests.pruning.toy_search import REWIND, TOTAL, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import Spy, finish, finish_though_killed  # noqa: E402


def recipe_of(rounds: int = 2, rewind: bool = True, end: float = 0.8, **pruning: Any) -> Any:
    progressive = {"rounds": rounds, "rewind": rewind, "end": end}
    return toy_recipe(
        pruning={"schedule": "progressive", "progressive": progressive, **pruning},
        training={"checkpoint_seconds": 1e-9},
    )


def test_sparsity_rises_linearly_and_the_last_round_is_the_target() -> None:
    spec = ProgressiveSpec(rounds=4, begin=0.1, end=0.5)
    assert progressive_points(spec, range(100, 200), 0.8) == {
        120: pytest.approx(0.2),
        130: pytest.approx(0.4),
        140: pytest.approx(0.6),
        150: pytest.approx(0.8),
    }


@pytest.mark.parametrize("rewind", [True, False])
def test_kept_weights_go_back_after_each_round_and_steps_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewind: bool
) -> None:
    rounds: list[Any] = []
    prune = Session.prune

    def spying(self: Session, masks: Any) -> None:
        prune(self, masks)
        rounds.append({name: mask.clone() for name, mask in masks.items()})

    monkeypatch.setattr(Session, "prune", spying)
    spy = Spy()
    search = toy_search(tmp_path / "run", recipe_of(rewind=rewind, levels=[0.8]), batches=spy, build=spy.build)
    search.execute()
    assert spy.steps == [*range(TOTAL), *range(REWIND, TOTAL)]
    # Of the five steps after the rewind point, the second and the fourth end a round.
    assert [sparsity({name: mask.numpy() for name, mask in one.items()}) for one in rounds] == pytest.approx(
        [0.4, 0.8], abs=0.02
    )
    assert all(
        is_subset({n: m.numpy() for n, m in inner.items()}, {n: m.numpy() for n, m in outer.items()})
        for outer, inner in itertools.pairwise(rounds)
    )
    start = TrainingState.load(search.run.rewind).model
    for masks, done in zip(rounds, (2, 4), strict=True):
        seen = spy.seen[TOTAL + done]
        for name, value in seen.items():
            kept = masks[name] if name in masks else torch.ones(value.shape, dtype=torch.bool)
            assert not value[~kept].any()
            assert torch.equal(value[kept], start[name][kept]) or not rewind
        assert rewind or any(not torch.equal(seen[name][mask], start[name][mask]) for name, mask in masks.items())
    final = TrainingState.load(search.run.trial("level_80").weights).model
    for name, mask in load_masks(search.run.trial("level_80").mask).items():
        assert not final[name].numpy()[~mask].any()


@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_a_progressive_run_that_dies_between_steps_ends_bit_identical(tmp_path: Path, criterion: str) -> None:
    recipe = recipe_of(criterion=criterion, levels=[0.5, 0.8])
    assert finish_though_killed(tmp_path / "killed", recipe, 2) == finish(tmp_path / "whole", recipe)


def test_the_rounds_of_a_user_s_own_training_go_back_too(tmp_path: Path) -> None:
    from lth_deploy import search_ticket

    seen: list[tuple[int, int, float]] = []
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))

    def train(network: Any, start: int, stop: int) -> None:
        seen.append((start, stop, float(network[0].weight.detach().abs().sum())))
        with torch.no_grad():
            for value in network.parameters():
                value.mul_(1.5 ** (stop - start))

    search_ticket(
        model,
        train=train,
        evaluate=lambda network: 0.5,
        pruning={"levels": [0.5], "schedule": "progressive", "progressive": {"rounds": 2}, "rewind": {"step": 2}},
        steps=10,
        out=tmp_path / "run",
    )
    assert [(start, stop) for start, stop, _ in seen] == [(0, 2), (2, 10), (2, 4), (4, 6), (6, 10)]
    starts = [total for _, _, total in seen[2:]]
    # What is kept is as it was at step 2, and less of it: of the largest weights.
    assert starts[0] > starts[1] > starts[2] > 0.5 * starts[0]


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ({"progressive": {"begin": 0.8, "end": 0.5}}, "begin 0.8 is not before end 0.5"),
        ({"progressive": {"end": 1.0}}, "progressive.end"),
        ({"progressive": {"rounds": 0}}, "progressive.rounds"),
        ({"ranked": "initial"}, "schedule 'progressive' ranks weights in training"),
        ({"criterion": "movement"}, "set progressive.rewind to false"),
        ({"structure": "2:4", "levels": [0.5]}, "leave allocation, share_of, block_score, keep_at_least, schedule out"),
    ],
)
def test_what_cannot_be_combined_is_refused(pruning: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        toy_recipe(pruning={"schedule": "progressive", **pruning})


def test_more_rounds_than_steps_are_refused_before_any_training(tmp_path: Path) -> None:
    search = toy_search(tmp_path / "run", recipe_of(rounds=6))
    with pytest.raises(RecipeError, match=r"6 rounds from 0.0 to 0.8 of 5 steps follow each other at once"):
        search.check()
