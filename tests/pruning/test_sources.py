"""A search whose tickets come from another run: what each training starts with, and that its mask holds."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.recipe import Recipe  # noqa: E402
from lth_deploy.errors import DataError, RecipeError, UsageError  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import TOTAL, ToyBatches, toy_recipe, toy_search  # noqa: E402
from tests.pruning.watched_search import Killed, Spy, dies_at, outcome  # noqa: E402

POSITIONS = dict.fromkeys(["backbone.0.weight", "backbone.3.weight", "rpn.weight", "head.weight"], 1.0)


class Network(torch.nn.Module):
    """A backbone, a head and, where `proposals`, one part more, under the names that detectors have."""

    def __init__(self, proposals: bool) -> None:
        super().__init__()
        conv, up = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.backbone = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(6), torch.nn.ReLU(), up)
        self.rpn = torch.nn.Linear(5, 5) if proposals else torch.nn.Identity()
        self.head = torch.nn.Linear(5, 3)

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        answer = self.head(self.rpn(self.backbone(torch.stack(images)).mean((2, 3))))
        if targets is None:
            return answer
        return {"fit": ((answer - torch.stack([target["answer"] for target in targets])) ** 2).mean()}


def build(proposals: bool) -> Any:
    def make(seed: int, pretrained: bool = False) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 10 * proposals)
            model = Network(proposals)
        if pretrained:
            with torch.no_grad():
                model.backbone[0].weight += 0.25
        return model

    return make


def settings(proposals: bool, **changes: Any) -> dict[str, Any]:
    score = {"val": {"bbox": {"AP": 0.5}}}
    return {
        "build": build(proposals),
        "positions": lambda model: POSITIONS,
        "score": lambda model: score,
        **changes,
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search on a network without proposals."""
    path = tmp_path_factory.mktemp("source") / "run"
    toy_search(path, **settings(proposals=False)).execute()
    return path


def recipe_from_source(run: Path, **spec: Any) -> Recipe:
    return toy_recipe(
        source={"run": str(run), **spec},
        pruning={"levels": [0.5, 0.8]},
        controls={"random": [0.8]},
        training={"checkpoint_seconds": 1e-9},
    )


def searched(path: Path, recipe: Recipe) -> tuple[Any, Spy]:
    spy = Spy()
    make = build(True)

    def watched(seed: int, pretrained: bool) -> Any:
        spy.models.append(make(seed, pretrained))
        return spy.models[-1]

    search = toy_search(path, recipe, **settings(True, build=watched, batches=spy))
    search.check()
    search.execute()
    return search, spy


@pytest.mark.parametrize("transfer", ["ticket", "mask"])
def test_where_each_training_starts(tmp_path: Path, source: Path, transfer: str) -> None:
    search, spy = searched(tmp_path / "run", recipe_from_source(source, transfer=transfer))
    assert spy.steps == [*range(TOTAL)] * 4
    own = build(True)(search.recipe.training.seed, True).state_dict()
    dense, *tickets = spy.starts()
    assert all(torch.equal(value, own[name]) for name, value in dense.items())
    for start, level, mask_of in zip(
        tickets, ("level_50", "level_80", "level_80"), ("level_50", "level_80", "random_80"), strict=True
    ):
        given = TrainingState.load(source / "trials" / level / "weights.safetensors").model
        masks = load_masks(search.run.trial(mask_of).mask)
        for name, value in start.items():
            is_taken = transfer == "ticket" and name in given and "num_batches" not in name
            expected = given[name] if is_taken else own[name]
            keep = torch.from_numpy(masks[name]) if name in masks else torch.ones(value.shape, dtype=torch.bool)
            assert torch.equal(value[keep], expected[keep]), name
            assert not value[~keep].any(), name


def test_masks_are_the_sources_own_and_hold_under_momentum_and_decay(tmp_path: Path, source: Path) -> None:
    """Released code lost the names' prefix, and its transferred backbones grew dense after one step."""
    search, _ = searched(tmp_path / "run", recipe_from_source(source))
    for level in ("level_50", "level_80"):
        theirs = load_masks(source / "trials" / level / "mask.safetensors")
        ours = load_masks(search.run.trial(level).mask)
        final = TrainingState.load(search.run.trial(level).weights).model
        for name, mask in theirs.items():
            assert np.array_equal(ours[name], mask), name
            assert not final[name].numpy()[~mask].any(), name
        assert ours["rpn.weight"].all()


def test_a_transferred_backbone_is_as_sparse_after_a_hundred_steps(tmp_path: Path, source: Path) -> None:
    recipe = toy_recipe(source={"run": str(source)}, training={"steps": 100}, pruning={"levels": [0.8]})
    search = toy_search(tmp_path / "run", recipe, **settings(True, total_steps=100))
    search.execute()
    trial = search.run.trial("level_80")
    assert trial.read_result().steps == (0, 100)
    weights = TrainingState.load(trial.weights).model
    for name, mask in load_masks(trial.mask).items():
        assert np.array_equal(weights[name].numpy() != 0, mask), name


def test_layers_that_the_source_lacks_are_pruned_where_the_recipe_says_so(tmp_path: Path, source: Path) -> None:
    search, _ = searched(tmp_path / "run", recipe_from_source(source, missing="direct"))
    for level, share in (("level_50", 0.5), ("level_80", 0.8)):
        masks = load_masks(search.run.trial(level).mask)
        assert int((~masks["rpn.weight"]).sum()) == round(share * masks["rpn.weight"].size)
    weights = search.trials.state("dense").model["rpn.weight"].abs().numpy()
    assert weights[masks["rpn.weight"]].min() >= weights[~masks["rpn.weight"]].max()


def test_only_the_named_parts_are_taken(tmp_path: Path, source: Path) -> None:
    search, spy = searched(tmp_path / "run", recipe_from_source(source, groups=["backbone"]))
    own = build(True)(search.recipe.training.seed, True).state_dict()
    assert torch.equal(spy.starts()[1]["head.weight"], own["head.weight"])
    assert load_masks(search.run.trial("level_80").mask)["head.weight"].all()


def test_a_level_that_the_source_has_not_is_refused_before_any_training(tmp_path: Path, source: Path) -> None:
    spy = Spy()
    recipe = toy_recipe(source={"run": str(source)}, pruning={"levels": [0.7]})
    search = toy_search(tmp_path / "run", recipe, **settings(True, batches=spy))
    with pytest.raises(UsageError, match="no finished trial 'level_70'; it has level_50, level_80"):
        search.check()
    assert spy.steps == []


def test_a_source_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "source"
    toy_search(path, **settings(proposals=False)).execute()
    file = path / "trials" / "level_80" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    search = toy_search(tmp_path / "run", recipe_from_source(path), **settings(True))
    with pytest.raises(DataError, match="has changed since it was committed"):
        search.check()


def test_a_transfer_that_dies_between_steps_ends_bit_identical(tmp_path: Path, source: Path) -> None:
    recipe = recipe_from_source(source, missing="direct")
    search, _ = searched(tmp_path / "whole", recipe)
    expected, got = outcome(search.run.path), None
    for _ in range(100):

        class Dying(ToyBatches):
            calls = 0

            def batch(self, step: int) -> Any:
                dies_at(3)(self.calls)
                self.calls += 1
                return super().batch(step)

        with contextlib.suppress(Killed):
            toy_search(tmp_path / "killed", recipe, **settings(True, batches=Dying())).execute()
            got = outcome(tmp_path / "killed")
            break
    assert got == expected


@pytest.mark.parametrize("key", ["restart", "budget", "schedule", "share_of"])
def test_a_source_leaves_no_choice_of_the_restart(key: str) -> None:
    other = {"restart": "learning_rate", "budget": "full", "schedule": "cubic", "share_of": "all"}[key]
    with pytest.raises(RecipeError, match=f"leave pruning.{key} out"):
        toy_recipe(source={"run": "somewhere"}, pruning={key: other})
