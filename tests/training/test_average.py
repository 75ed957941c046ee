"""The moving average of weights: its rule, its zeros, and that no kill changes it."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.training_spec import AverageSpec  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.training.average import AverageWeights  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import TOTAL, ToyBatches, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import finish, finish_though_killed  # noqa: E402

EMA = {"decay": 0.6, "ramp": 2.0}


def _model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))


def test_it_is_the_average_of_libreyolo() -> None:
    pytest.importorskip("libreyolo", reason="the extra 'zoo' is not installed")
    from libreyolo.training.ema import ModelEMA

    model = _model()
    theirs = ModelEMA(model, decay=0.9, tau=3)
    mine = AverageWeights(model, AverageSpec(decay=0.9, ramp=3))
    for step in range(6):
        with torch.no_grad():
            model(torch.rand(2, 3, 5, 5))
            for value in model.parameters():
                value.add_(torch.randn_like(value))
        theirs.update(model)
        mine.after_step(step, {})
    mine.fill()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs.ema.state_dict()[name])


def test_what_does_not_change_stays_bit_for_bit() -> None:
    model = _model()
    with torch.no_grad():
        model[0].weight[0] = 0.0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = AverageWeights(model, AverageSpec(decay=0.37, ramp=0))
    for step in range(20):
        average.after_step(step, {})
    average.fill()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def _recipe(**pruning: Any) -> Any:
    return toy_recipe(
        training={"ema": EMA, "checkpoint_seconds": 1e-9},
        pruning={"levels": [0.5, 0.8], **pruning},
        controls={"random": [0.8]},
    )


PRUNINGS: list[dict[str, Any]] = [
    {},
    {"schedule": "cubic", "cubic": {"every": 1}},
    {"schedule": "progressive", "progressive": {"rounds": 2, "end": 0.8}},
]


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_an_averaged_run_that_dies_between_steps_ends_bit_identical(tmp_path: Path, pruning: dict[str, Any]) -> None:
    recipe = _recipe(**pruning)
    assert finish_though_killed(tmp_path / "killed", recipe, 2) == finish(tmp_path / "whole", recipe)


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_the_average_is_scored_and_saved_with_the_zeros_of_its_mask(tmp_path: Path, pruning: dict[str, Any]) -> None:
    scored: list[Any] = []

    def score(model: Any) -> Any:
        scored.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"val": {"bbox": {"AP": 0.5}}}

    search = toy_search(tmp_path / "run", _recipe(**pruning), score=score)
    search.execute()
    for seen, name in zip(scored, ("dense", "level_50", "level_80", "random_80"), strict=True):
        trial = search.run.trial(name)
        saved = TrainingState.load(trial.weights).model
        assert all(torch.equal(value, saved[key]) for key, value in seen.items()), name
        if name != "dense":
            for key, mask in load_masks(trial.mask).items():
                assert not saved[key].numpy()[~mask].any()


def test_the_dense_average_follows_the_weights_of_a_run_without_one(tmp_path: Path) -> None:
    live: list[Any] = []
    models: list[Any] = []

    class Watching(ToyBatches):
        def batch(self, step: int) -> Any:
            if len(live) <= TOTAL:
                live.append(models[-1].fc.weight.detach().clone())
            return super().batch(step)

    from tests.pruning.toy_search import build

    def watched(seed: int, pretrained: bool) -> Any:
        models.append(build(seed, pretrained))
        return models[-1]

    plain = toy_search(tmp_path / "plain", toy_recipe(), batches=Watching(), build=watched)
    plain.execute()
    averaged = toy_search(tmp_path / "averaged", _recipe())
    averaged.execute()
    weights = [*live[1:TOTAL], TrainingState.load(plain.run.trial("dense").weights).model["fc.weight"]]
    expected = live[0].clone()
    for count, value in enumerate(weights, 1):
        decay = 0.6 * (1 - torch.exp(torch.tensor(-count / 2.0)))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(TrainingState.load(averaged.run.trial("dense").weights).model["fc.weight"], expected)
    # The state that tickets go back to is that of the weights, not of their average.
    rewind = [TrainingState.load(one.run.rewind).model["fc.weight"] for one in (plain, averaged)]
    assert torch.equal(*rewind)
