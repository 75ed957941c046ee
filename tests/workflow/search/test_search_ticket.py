"""A search around a training of the user's own is the same search: rewinds, controls, resume, and a run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

import lth_deploy  # noqa: E402
from lth_deploy.config.search_spec import PruningSpec  # noqa: E402
from lth_deploy.errors import RecipeError, TrainingError, UsageError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.training.held.small import network, require_zeros, train  # noqa: E402

STEPS, REWIND = 12, 4
PRUNING = {"levels": [0.5, 0.8], "rewind": {"step": REWIND}}


class Killed(BaseException):
    """What ends a process, as far as a test can."""


class Loop:
    """The user's: an optimizer with momentum and weight decay, and what it was called with."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.calls: list[tuple[int, int]] = []
        self.starts: list[dict[str, Any]] = []
        self._left = dies_at

    def __call__(self, model: Any, start: int, stop: int) -> float:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Killed
        self.calls.append((start, stop))
        self.starts.append({name: value.clone() for name, value in model.state_dict().items()})
        assert model.training
        train(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.05), range(start, stop))
        return 0.25


def score(model: Any) -> float:
    """A function of the weights."""
    assert not model.training
    return torch.sigmoid(model[5].weight.sum()).item()


def search(out: Path, loop: Callable[..., Any] | None = None, **changes: Any) -> Any:
    """A search over the small network."""
    settings: dict[str, Any] = {"train": loop or Loop(), "evaluate": score, "pruning": PRUNING, "steps": STEPS}
    return lth_deploy.search_ticket(changes.pop("model", None) or network(), out=out, **{**settings, **changes})


def test_tickets_start_where_the_dense_training_was_and_keep_their_masks(tmp_path: Path) -> None:
    loop = Loop()
    result = search(tmp_path / "run", loop)
    assert result.finished
    # The dense training stops once, where the state to rewind to is kept.
    assert loop.calls == [(0, REWIND), (REWIND, STEPS), (REWIND, STEPS), (REWIND, STEPS)]
    run = RunDirectory.open(tmp_path / "run")
    rewound = loop.starts[1]
    dense = TrainingState.load(run.trial("dense").weights).model
    for start, name, level in zip(loop.starts[2:], ("level_50", "level_80"), (0.5, 0.8), strict=True):
        masks = load_masks(run.trial(name).mask)
        assert sparsity(masks) == pytest.approx(level, abs=2e-3)
        for layer, mask in masks.items():
            keep = torch.from_numpy(mask)
            assert torch.equal(start[layer][keep], rewound[layer][keep])
            assert not start[layer][~keep].any()
    # The first mask keeps the largest weights of the dense network, over all layers.
    kept = load_masks(run.trial("level_50").mask)
    least = min(dense[name][torch.from_numpy(mask)].abs().min().item() for name, mask in kept.items())
    most = max(dense[name][torch.from_numpy(~mask)].abs().max().item() for name, mask in kept.items())
    assert most <= least
    model = network(3)
    masks = lth_deploy.load_ticket(tmp_path / "run", model, "80")
    require_zeros(model, masks)


def test_controls_and_a_function_that_builds(tmp_path: Path) -> None:
    loop = Loop()
    controls = {"random": [0.8], "reinit": [0.8]}
    search(
        tmp_path / "run", loop, model=network, controls=controls, pruning=PruningSpec(**{**PRUNING, "levels": [0.8]})
    )
    run = RunDirectory.open(tmp_path / "run")
    ticket, random = (load_masks(run.trial(name).mask) for name in ("level_80", "random_80"))
    assert {n: int(m.sum()) for n, m in random.items()} == {n: int(m.sum()) for n, m in ticket.items()}
    assert any(not np.array_equal(random[name], ticket[name]) for name in ticket)
    assert loop.calls[-1] == (0, STEPS)
    fresh, keep = network(1).state_dict(), torch.from_numpy(ticket["4.weight"])
    assert torch.equal(loop.starts[-1]["4.weight"][keep], fresh["4.weight"][keep])


@pytest.mark.parametrize("schedule", ["levels", "cubic"])
@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_a_search_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, schedule: str, dies_at: int) -> None:
    pruning = {**PRUNING, "schedule": schedule, "cubic": {"updates": 3}}
    search(tmp_path / "whole", pruning=pruning)
    with pytest.raises(Killed):
        search(tmp_path / "run", Loop(dies_at), pruning=pruning)
    search(tmp_path / "run", pruning=pruning, resume=True)
    whole, again = (RunDirectory.open(tmp_path / name) for name in ("whole", "run"))
    for name in ("dense", "level_50", "level_80"):
        one, other = (TrainingState.load(run.trial(name).weights).model for run in (whole, again))
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_the_cubic_rises_at_points_between_the_calls(tmp_path: Path) -> None:
    loop = Loop()
    search(tmp_path / "run", loop, pruning={**PRUNING, "levels": [0.8], "schedule": "cubic", "cubic": {"updates": 3}})
    assert loop.calls == [(0, 4), (4, 12), (4, 6), (6, 8), (8, 10), (10, 12)]
    zeros = [sum(int((start[name] == 0).sum()) for name in ("0.weight", "4.weight")) for start in loop.starts[2:]]
    assert zeros[0] == 0
    assert zeros == sorted(zeros)
    assert sparsity(load_masks(RunDirectory.open(tmp_path / "run").trial("level_80").mask)) == pytest.approx(
        0.8, abs=2e-3
    )


def test_a_limit_of_time_stops_between_two_calls(tmp_path: Path) -> None:
    loop = Loop()
    assert not search(tmp_path / "run", loop, max_seconds=0.0).finished
    assert loop.calls == [(0, REWIND)]
    assert search(tmp_path / "run", loop, resume=True).finished
    assert loop.calls[1] == (REWIND, STEPS)


def test_the_summary_is_read_by_report_and_inspect(tmp_path: Path) -> None:
    result = search(tmp_path / "run", tolerance=0.9, example=(torch.zeros(1, 2, 4, 4),), evaluate=lambda model: 0.95)
    summary = result.summary
    assert summary.winner.trial == "level_80"
    assert [trial.ap("val", "score") for trial in summary.trials] == [0.95] * 3
    dense = summary.trial("dense")
    assert {layer.name: layer.positions for layer in dense.layers} == {
        "0.weight": 16.0,
        "4.weight": 1.0,
        "5.weight": 1.0,
    }
    assert dense.losses == [(REWIND, 0.25), (STEPS, 0.25)]
    page = lth_deploy.report(tmp_path / "run", out=tmp_path / "page.html")
    assert "level_80" in Path(page or tmp_path / "page.html").read_text(encoding="utf-8")
    assert lth_deploy.load_ticket(tmp_path / "run", network()).keys() == {"0.weight", "4.weight", "5.weight"}


def test_predictors_and_patterns_choose_the_layers(tmp_path: Path) -> None:
    search(tmp_path / "run", predictors=["5"], pruning={**PRUNING, "exclude": ["0"]})
    assert load_masks(RunDirectory.open(tmp_path / "run").trial("level_50").mask).keys() == {"4.weight"}


def test_a_network_without_convolutions_is_searched_too(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 4), torch.nn.Linear(4, 2))
    search(tmp_path / "run", model=model, evaluate=lambda one: 0.5)
    assert len(load_masks(RunDirectory.open(tmp_path / "run").trial("level_80").mask)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": {**PRUNING, "criterion": "snip"}}, "pruning.criterion 'snip' looks at images or losses"),
        ({"pruning": {**PRUNING, "schedule": "post_training"}}, "pruning.schedule 'post_training' looks at"),
        ({"pruning": {**PRUNING, "structure": "filter"}}, "pruning.structure 'filter' looks at"),
        ({"pruning": {**PRUNING, "allocation": "macs"}}, "give example"),
        ({"pruning": {**PRUNING, "rewind": {"step": 12}}}, "step 12 is not before the end of the training, step 12"),
        ({"pruning": {"level": [0.5]}}, "pruning.level: unknown key; did you mean 'levels'"),
        ({"pruning": {**PRUNING, "include": ["head.*"]}}, "matches no layer"),
        ({"controls": {"reinit": [0.8]}}, "give as model a function of a seed"),
        ({"controls": {"random": [0.7]}}, "0.7 is not one of the levels"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_trains(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    loop = Loop()
    with pytest.raises(RecipeError, match=message):
        search(tmp_path / "run", loop, **changes)
    assert not loop.calls
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize("value", [1.5, float("nan"), "good", None, True])
def test_scores_are_shares(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match="return a share from 0 to 1"):
        search(tmp_path / "run", evaluate=lambda model: value)


def test_other_returned_values_and_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train returned 'done'"):
        search(tmp_path / "a", lambda model, start, stop: "done")

    def explode(model: Any, start: int, stop: int) -> None:
        torch.nn.init.constant_(model[4].weight, float("nan"))

    with pytest.raises(TrainingError, match=r"the weights 4\.weight are not finite after step 4"):
        search(tmp_path / "b", explode)

    def regrow(model: Any, start: int, stop: int) -> None:
        with torch.no_grad():
            model[4].weight.add_(1.0)

    with pytest.raises(TrainingError, match=r"pruned weights are not zero: 4\.weight"):
        search(tmp_path / "c", regrow)


def test_another_network_cannot_go_on_with_a_search(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        search(tmp_path / "run", Loop(1))
    with pytest.raises(UsageError, match="was made with another recipe"):
        search(tmp_path / "run", model=network(5), resume=True)
    with pytest.raises(UsageError, match="holds a run already"):
        search(tmp_path / "run")


def test_verbs_that_build_the_network_say_who_has_it(tmp_path: Path) -> None:
    search(tmp_path / "run")
    recipe = lth_deploy.load_recipe(tmp_path / "run" / "recipe.yaml")
    with pytest.raises(RecipeError, match=r"made by lth_deploy\.search_ticket"):
        lth_deploy.find_ticket(recipe, tmp_path / "other")
    with pytest.raises(UsageError, match=r"lth_deploy\.load_ticket\(run, model\)"):
        lth_deploy.export(tmp_path / "run", level="80")
