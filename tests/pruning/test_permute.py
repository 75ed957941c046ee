"""Like channels next to each other: quads lose less, and a search in that order is otherwise the same search."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.search_spec import SourceSpec  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.pruning.ranking.block_scores import block_scores  # noqa: E402
from lth_deploy.pruning.ranking.permute import reordered, similarity_order  # noqa: E402
from lth_deploy.pruning.search.transfer import read_ticket  # noqa: E402
from lth_deploy.structures import STRUCTURES  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import REWIND, ToyDetector, toy_recipe, toy_search  # noqa: E402

POSITIONS = {"stem.weight": 36.0, "mid.weight": 36.0, "up.weight": 36.0, "fc.weight": 1.0}


class Deeper(ToyDetector):
    """With a second convolution, so that the stem's channels are free."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.mid = torch.nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        features = self.up(torch.relu(self.mid(torch.relu(self.norm(self.stem(torch.stack(images)))))))
        answer = self.fc(features.mean((2, 3)))
        if targets is None:
            return answer
        wanted = torch.stack([target["answer"] for target in targets])
        return {"fit": ((answer - wanted) ** 2).mean()}


def build(seed: int, pretrained: bool = False) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Deeper()


def images() -> list[Any]:
    return list(torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)))


def alternating() -> Any:
    """A network whose even channels are needed in other places than its odd ones."""
    model = build(0)
    with torch.no_grad():
        model.mid.weight.mul_(0.01)
        model.mid.weight[:3, ::2] += 1
        model.mid.weight[3:, 1::2] += 1
    return model


def test_channels_that_are_needed_alike_become_neighbors() -> None:
    model = alternating()
    order = similarity_order(model, images(), 4)
    (axis, places), *rest = order["mid.weight"]
    assert axis == 1
    assert not rest
    assert sorted(places.tolist()) == list(range(8))
    assert {frozenset(places[:4].tolist()), frozenset(places[4:].tolist())} == {
        frozenset({0, 2, 4, 6}),
        frozenset({1, 3, 5, 7}),
    }
    assert sorted(order) == sorted(
        ["stem.weight", "mid.weight", *(f"norm.{key}" for key in ("weight", "bias", "running_mean", "running_var"))]
    )
    before, after = (
        np.sort(block_scores(np.abs(weights.numpy()), STRUCTURES["in4"], False)[0].reshape(-1))
        for weights in (model.mid.weight.detach(), model.mid.weight.detach()[:, places])
    )
    # Half of the quads hold nearly nothing now; before, each held half of everything.
    assert after[: after.size // 2].max() < 0.1
    assert before.min() > 0.5


def test_another_order_computes_the_same_and_takes_optimizer_and_memory_along() -> None:
    model = build(1).eval()
    expected = model(images())
    order = similarity_order(model, images(), 4)
    state = TrainingState.capture(3, model)
    momentum = {f"{name}|momentum_buffer": value.clone() for name, value in state.model.items() if value.ndim}
    memory = {f"movement|{name}": value.clone() for name, value in state.model.items() if value.ndim}
    moved = reordered(
        TrainingState(3, state.model, {**momentum, "fc.weight|step": torch.tensor(2.0)}, {}, memory), order
    )
    assert not torch.equal(moved.model["mid.weight"], state.model["mid.weight"])
    moved.restore(model)
    torch.testing.assert_close(model(images()), expected)
    for name, value in moved.model.items():
        if value.ndim:
            assert torch.equal(moved.optimizer[f"{name}|momentum_buffer"], value), name
            assert torch.equal(moved.memory[f"movement|{name}"], value), name
    assert moved.optimizer["fc.weight|step"] == 2


def test_tickets_of_a_permuted_search_start_from_the_permuted_snapshot(tmp_path: Path) -> None:
    def run(name: str, permute: str) -> Any:
        recipe = toy_recipe(pruning={"levels": [0.5], "structure": "in4", "permute": permute})
        search = toy_search(tmp_path / name, recipe, build=build, positions=lambda model: POSITIONS)
        search.execute()
        return search

    plain, permuted = run("plain", "none"), run("permuted", "similarity")
    first, second = plain.trials.trained("dense").eval(), permuted.trials.trained("dense").eval()
    torch.testing.assert_close(first(images()), second(images()))
    assert not torch.equal(first.mid.weight, second.mid.weight)
    # The snapshot is in the order of the dense weights: the same channels of both have changed places.
    order = similarity_order(first, images()[:1], 4)
    snapshot, original = permuted.trials.state("rewind"), plain.trials.state("rewind")
    assert snapshot.step == REWIND
    for name, value in reordered(original, order).model.items():
        assert torch.equal(snapshot.model[name], value), name
    assert set(load_masks(permuted.run.trial("level_50").mask)) == set(POSITIONS)
    assert not plain.run.permuted_rewind.exists()


def test_an_order_needs_blocks_of_inputs() -> None:
    with pytest.raises(RecipeError, match="permute 'similarity' is for structures with blocks of inputs"):
        toy_recipe(pruning={"permute": "similarity"})


def test_an_order_goes_by_the_trained_weights_of_this_network() -> None:
    permuted = {"structure": "in4", "permute": "similarity"}
    with pytest.raises(RecipeError, match="ranked 'initial' comes before"):
        toy_recipe(pruning={**permuted, "ranked": "initial"})
    with pytest.raises(RecipeError, match=r"leave pruning\.permute out"):
        toy_recipe(pruning=permuted, source={"run": "elsewhere"})


def test_a_permuted_run_is_no_source(tmp_path: Path) -> None:
    recipe = toy_recipe(pruning={"levels": [0.5], "structure": "in4", "permute": "similarity"})
    toy_search(tmp_path / "run", recipe, build=build, positions=lambda model: POSITIONS).execute()
    with pytest.raises(RecipeError, match="put its channels in another order"):
        read_ticket(SourceSpec(run=str(tmp_path / "run")), 0.5)
