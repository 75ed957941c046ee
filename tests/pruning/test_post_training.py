"""Tickets without training: exact shares, better outputs than by magnitude, and an ordinary run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.scope import scoped_layers  # noqa: E402
from lth_deploy.pruning.search.post_training import reconstruct  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import TOTAL, build, toy_recipe, toy_search  # noqa: E402
from tests.tiny_detectors import tiny_detector  # noqa: E402

POST = {"schedule": "post_training", "levels": [0.3, 0.6], "calibration_images": 5}


def _smooth(count: int, height: int = 64, width: int = 96) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    return list(torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear"))


def _by_magnitude(model: Any, masks: Any) -> Any:
    """As many zeros in each layer, the smallest weights."""
    twin = build(0)
    twin.load_state_dict(model.state_dict())
    for name, mask in masks.items():
        weight = twin.get_parameter(name)
        pruned = weight.detach().abs().reshape(-1).argsort(stable=True)[: int((~mask).sum())]
        weight.data.reshape(-1)[pruned] = 0
    return twin.eval()


def test_a_network_of_every_kind_of_layer_answers_better_than_by_magnitude() -> None:
    model, images = build(3).eval(), _smooth(12, 8, 8)
    with torch.no_grad():
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
    layers = scoped_layers(model, "default")
    pruned, masks = reconstruct(model, layers, images, 0.5, "single")
    with torch.no_grad():
        exact, found, plain = (net(images) for net in (model, pruned, _by_magnitude(model, masks)))
    assert (found - exact).square().mean() < 0.25 * (plain - exact).square().mean()
    total = sum(mask.size for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.5 * total)
    for name, mask in masks.items():
        assert not pruned.get_parameter(name).detach().numpy()[~mask].any()


def test_the_model_itself_is_left_as_it_is() -> None:
    model = build(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reconstruct(model, scoped_layers(model, "default"), _smooth(6, 8, 8), 0.5, "single")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_run_has_an_ordinary_trial_for_each_level(tmp_path: Path) -> None:
    search = toy_search(tmp_path / "run", toy_recipe(pruning=POST))
    search.execute()
    for name, share in (("level_30", 0.3), ("level_60", 0.6)):
        trial = search.run.trial(name)
        masks, result = load_masks(trial.mask), trial.read_result()
        assert trial.finished
        assert result.steps == (TOTAL, TOTAL)
        assert sparsity(masks) == pytest.approx(share, abs=1 / 200)
        weights = TrainingState.load(trial.weights).model
        assert all(not weights[layer].numpy()[~mask].any() for layer, mask in masks.items())
    again = toy_search(tmp_path / "again", toy_recipe(pruning=POST))
    again.execute()
    first, second = (TrainingState.load(one.run.trial("level_60").weights).model for one in (search, again))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_groups_of_four_keep_two(tmp_path: Path) -> None:
    recipe = toy_recipe(pruning={**POST, "structure": "2:4", "levels": [0.5]})
    search = toy_search(tmp_path / "run", recipe)
    search.execute()
    mask = load_masks(search.run.trial("level_50").mask)["up.weight"]  # [I, O, ...]: 4 and 2 inputs in a group
    assert (mask[:4].sum(axis=0) == 2).all()
    assert (mask[4:].sum(axis=0) == 2).all()


def test_a_part_of_a_detector_is_reconstructed() -> None:
    model = tiny_detector("retinanet")
    layers = scoped_layers(model, "default", parts=["dense_head"])
    pruned, masks = reconstruct(model, layers, _smooth(4), 0.4, "single")
    assert sparsity(masks) == pytest.approx(0.4, abs=1e-4)
    assert set(masks) == {layer.name for layer in layers}
    with torch.no_grad():
        assert np.isfinite(pruned(_smooth(1))[0]["scores"].numpy()).all()


@pytest.mark.parametrize(
    "sections",
    [
        {"pruning": {**POST, "criterion": "random"}},
        {"pruning": {**POST, "allocation": "erk"}},
        {"pruning": {**POST, "restart": "fine_tune"}},
        {"pruning": POST, "controls": {"random": [0.3]}},
        {"training": {"steps": 0}},
        {"pruning": POST, "training": {"steps": 0}},
    ],
)
def test_recipes_that_mean_nothing_are_refused(sections: Any) -> None:
    with pytest.raises(RecipeError):
        toy_recipe(**sections)


def test_nothing_needs_to_be_trained_where_weights_come_along(tmp_path: Path) -> None:
    recipe = toy_recipe(pruning=POST, training={"steps": 0}, detector={"weights": "backbone"})
    search = toy_search(tmp_path / "run", recipe, total_steps=0, rewind_step=0)
    search.execute()
    dense = TrainingState.load(search.run.trial("dense").weights).model
    assert torch.equal(dense["stem.weight"], build(recipe.training.seed, True).stem.weight)
    assert search.run.trial("level_60").finished
