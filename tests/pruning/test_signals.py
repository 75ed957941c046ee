"""What data-dependent criteria look at: gradients of a copy, a flow that layers conserve, and remembered movement."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.detectors.raw_outputs import raw_outputs  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.ranking.criteria import CRITERIA  # noqa: E402
from lth_deploy.pruning.ranking.signals import SumMovement, loss_gradient, movement, synaptic_flow  # noqa: E402
from lth_deploy.pruning.scope import scoped_layers  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.subsets import is_subset  # noqa: E402
from tests.pruning.toy_search import ToyBatches, build, toy_recipe, toy_search  # noqa: E402
from tests.tiny_detectors import FAMILIES, tiny_detector  # noqa: E402

NAMES = ["stem.weight", "up.weight", "fc.weight"]
CPU = torch.device("cpu")
UNFIT = {"fcos": "GroupNorm", "ssdlite": "Hardsigmoid and ReLU6"}


def test_gradients_are_of_the_loss_and_leave_the_model_alone() -> None:
    model = build(0)
    model.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = loss_gradient(model, NAMES, map(ToyBatches().batch, range(3)), CPU, seed=5)
    twin = build(0)
    torch.manual_seed(5)
    for step in range(3):
        torch.stack(list(twin(*ToyBatches().batch(step)).values())).sum().backward()
    for name in NAMES:
        np.testing.assert_allclose(found[name], twin.get_parameter(name).grad.numpy(), rtol=1e-5, atol=1e-7)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.stem.weight.requires_grad


def test_every_layer_in_line_has_the_same_flow() -> None:
    """Tanaka et al. 2020, theorem 1: what flows into a layer flows out of it."""
    model = build(0, pretrained=True)
    flow = synaptic_flow(model, NAMES, lambda twin, ones: [twin(list(ones))], side=6)
    for name in NAMES:
        total = float((np.abs(model.get_parameter(name).detach().numpy()) * flow[name]).sum())
        assert total == pytest.approx(1.0, rel=1e-4), name


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNFIT])
def test_the_flow_reaches_every_layer_of_a_detector(family: str) -> None:
    model = tiny_detector(family)
    names = [layer.name for layer in scoped_layers(model, "default")]
    flow = synaptic_flow(model, names, raw_outputs, side=64)
    dead = [name for name in names if not (flow[name] > 0).any()]
    assert not dead
    assert all(np.isfinite(value).all() for value in flow.values())


@pytest.mark.parametrize("family", UNFIT)
def test_networks_that_are_not_linear_have_no_flow(family: str) -> None:
    with pytest.raises(RecipeError, match=f"this one has {UNFIT[family]}: choose another criterion"):
        synaptic_flow(tiny_detector(family), [], raw_outputs)


def test_movement_is_the_sum_over_steps() -> None:
    model, expected = build(0), 0.0
    hook = SumMovement(model, ["stem.weight"])
    for step in range(3):
        model.zero_grad()
        torch.stack(list(model(*ToyBatches().batch(step)).values())).sum().backward()
        expected = expected - model.stem.weight.detach() * model.stem.weight.grad
        hook.after_backward(step)
    found = movement(hook.memory())["stem.weight"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-9)
    assert (found < 0).any()


@pytest.mark.parametrize("name", CRITERIA.names())
@pytest.mark.parametrize("ranked", ["trained", "initial"])
def test_a_search_by_every_criterion_reaches_its_levels(tmp_path: Path, name: str, ranked: str) -> None:
    if name == "movement" and ranked == "initial":
        with pytest.raises(RecipeError, match="ranked 'initial' is for ranking before it"):
            toy_recipe(pruning={"criterion": name, "ranked": ranked})
        return
    search = toy_search(tmp_path / "run", toy_recipe(pruning={"criterion": name, "ranked": ranked}))
    search.execute()
    half, most = (load_masks(search.run.trial(trial).mask) for trial in ("level_50", "level_80"))
    assert is_subset(most, half)
    total = sum(mask.size for mask in half.values())
    assert [round(sparsity(masks) * total) for masks in (half, most)] == [round(0.5 * total), round(0.8 * total)]


def test_snip_before_training_ranks_the_first_weights(tmp_path: Path) -> None:
    search = toy_search(
        tmp_path / "run", toy_recipe(pruning={"criterion": "snip", "ranked": "initial", "levels": [0.5]})
    )
    search.execute()
    model = build(0, pretrained=True)
    gradient = search.measure("gradient", model)
    scores = np.concatenate([np.abs(model.get_parameter(n).detach().numpy() * gradient[n]).ravel() for n in NAMES])
    kept = np.concatenate([load_masks(search.run.trial("level_50").mask)[n].ravel() for n in NAMES])
    assert scores[kept].min() >= scores[~kept].max()


def test_synflow_in_rounds_leaves_no_layer_empty(tmp_path: Path) -> None:
    """Tanaka et al. 2020: iterating is what avoids the collapse of a whole layer."""
    pruning: dict[str, Any] = {"criterion": "synflow", "ranked": "initial", "levels": [0.9]}
    search = toy_search(tmp_path / "run", toy_recipe(pruning=pruning))
    search.execute()
    assert all(mask.any() for mask in load_masks(search.run.trial("level_90").mask).values())


def test_movement_is_kept_with_the_weights_it_belongs_to(tmp_path: Path) -> None:
    search = toy_search(tmp_path / "run", toy_recipe(pruning={"criterion": "movement"}))
    search.execute()
    half = load_masks(search.run.trial("level_50").mask)
    dense = movement(TrainingState.load(search.run.trial("dense").weights).memory)
    scores = np.concatenate([dense[name].ravel() for name in NAMES])
    kept = np.concatenate([half[name].ravel() for name in NAMES])
    assert scores[kept].min() >= scores[~kept].max()
