"""Whole filters: exact shares, coupled layers that are pruned together, and no output of a pruned filter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.detectors.norms import norm_layer  # noqa: E402
from lth_deploy.errors import LthError, RecipeError, TrainingError  # noqa: E402
from lth_deploy.mask import Masks, load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.layer import PrunableLayer  # noqa: E402
from lth_deploy.pruning.ranking.allocation import prune, zero_macs  # noqa: E402
from lth_deploy.pruning.ranking.budget import Allocation  # noqa: E402
from lth_deploy.pruning.ranking.criteria import CRITERIA  # noqa: E402
from lth_deploy.pruning.search.control_masks import permuted  # noqa: E402
from lth_deploy.structures import STRUCTURES  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.subsets import is_subset  # noqa: E402
from tests.pruning.toy_search import toy_recipe, toy_search  # noqa: E402

FILTER = STRUCTURES["filter"]
MAGNITUDE = CRITERIA.get("magnitude")
ALLOCATIONS: tuple[Allocation, ...] = ("global", "per_layer", "macs")
POSITIONS = {"stem": 900.0, "inner": 400.0, "outer": 400.0, "fc": 1.0}


class Residual(torch.nn.Module):
    """A stem and a block whose output is added to the stem's, with norms, and a fully connected layer with a bias."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        made = norm_layer(norm)
        self.stem, self.stem_norm = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), made(8)
        self.inner, self.inner_norm = torch.nn.Conv2d(8, 12, 3, padding=1, bias=False), made(12)
        self.outer, self.outer_norm = torch.nn.Conv2d(12, 8, 3, padding=1, bias=False), made(8)
        self.fc = torch.nn.Conv2d(8, 3, 1)
        for one in (self.stem_norm, self.inner_norm, self.outer_norm):
            torch.nn.init.uniform_(one.bias, 0.1, 0.5)  # else nothing would show that it is pruned

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        first = torch.relu(self.stem_norm(self.stem(torch.stack(images))))
        inner = torch.relu(self.inner_norm(self.inner(first)))
        features = torch.relu(first + self.outer_norm(self.outer(inner)))
        answer = self.fc(features).mean((2, 3))
        if targets is None:
            return answer
        return {"fit": ((answer - torch.stack([target["answer"] for target in targets])) ** 2).mean()}


def build(norm: str) -> Any:
    def make(seed: int, pretrained: bool = False) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Residual(norm)

    return make


def search(path: Path, norm: str = "batch", **pruning: Any) -> Any:
    settings = {"structure": "filter", "exclude": ["fc"], "levels": [0.3, 0.6], **pruning}
    recipe = toy_recipe(pruning=settings, controls={"random": [settings["levels"][-1]]})
    positions = {f"{name}.weight": times for name, times in POSITIONS.items()}
    return toy_search(path, recipe, build=build(norm), positions=lambda model: positions)


def left(mask: Any) -> Any:
    """Which filters a mask keeps; every one must be whole."""
    rows = mask.reshape(len(mask), -1)
    np.testing.assert_array_equal(rows.any(1), rows.all(1))
    return rows.any(1)


def layers(seed: int = 0) -> list[PrunableLayer]:
    rng = np.random.default_rng(seed)

    def layer(name: str, shape: tuple[int, ...], positions: float, *coupled: str) -> PrunableLayer:
        return PrunableLayer(name, rng.normal(0, 1, shape).astype(np.float32), False, positions, None, coupled)

    return [
        layer("stem", (10, 3, 3, 3), 4096, "stem", "partner"),
        layer("inner", (24, 10, 3, 3), 1024, "inner"),
        layer("partner", (10, 24, 3, 3), 1024, "stem", "partner"),
        layer("last", (6, 10, 1, 1), 1024),
    ]


def ones(of: list[PrunableLayer]) -> Masks:
    return {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in of}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_shares_are_reached_by_less_than_one_filter_and_nested(allocation: Allocation) -> None:
    of = layers()
    before = ones(of)
    for level in (0.2, 0.5, 0.8):
        masks = prune(of, before, level, MAGNITUDE, allocation, FILTER)
        assert is_subset(masks, before)
        kept = {name: left(mask) for name, mask in masks.items()}
        np.testing.assert_array_equal(kept["stem"], kept["partner"])
        assert kept["last"].all()
        total = {one.name: one.weights.size * (one.positions if allocation == "macs" else 1) for one in of}
        unit = {"tied": (total["stem"] + total["partner"]) / 10, "inner": total["inner"] / 24}
        reached = zero_macs(of, masks) if allocation == "macs" else sparsity(masks)
        slack = sum(unit.values()) if allocation == "per_layer" else max(unit.values())
        assert 0 <= reached - level + 1e-9 < slack / sum(total.values()) + 1e-6
        if allocation == "per_layer":
            shares = [1 - kept[name].mean() for name in ("stem", "inner")]
            assert abs(shares[0] - shares[1]) <= 0.1
        before = masks


@pytest.mark.parametrize("allocation", ["global", "macs"])
def test_every_layer_keeps_its_best_filter(allocation: Allocation) -> None:
    of = layers()
    weak = [PrunableLayer(o.name, o.weights * (1e-3 if o.name == "inner" else 1), *_rest(o)) for o in of]
    masks = prune(weak, ones(of), 0.9, MAGNITUDE, allocation, FILTER)
    strength = np.square(of[1].weights).sum((1, 2, 3))
    if allocation == "global":
        assert np.flatnonzero(left(masks["inner"])).tolist() == [int(strength.argmax())]
    assert all(left(mask).any() for mask in masks.values())


def _rest(layer: PrunableLayer) -> tuple[Any, ...]:
    return layer.transposed, layer.positions, None, layer.coupled


def test_tied_filters_are_scored_together() -> None:
    of = layers()
    both = np.concatenate([of[0].weights.reshape(10, -1), of[2].weights.reshape(10, -1)], 1)
    masks = prune([of[0], of[2]], ones([of[0], of[2]]), 0.4, MAGNITUDE, "global", FILTER)
    wanted = np.sort(np.square(both).mean(1).argsort()[4:])
    assert np.flatnonzero(left(masks["stem"])).tolist() == wanted.tolist()


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_level_beyond_reach_names_what_keeps_its_filters(allocation: Allocation) -> None:
    with pytest.raises(
        RecipeError, match=r"1 of 4 layers keep all filters.*last; the most that can be reached is 0\.[89]"
    ):
        prune(layers(), ones(layers()), 0.99, MAGNITUDE, allocation, FILTER)


def test_weights_that_are_not_finite_stop_the_ranking() -> None:
    of = layers()
    of[1].weights[3, 0, 0, 0] = np.nan
    with pytest.raises(TrainingError, match="inner"):
        prune(of, ones(of), 0.5, MAGNITUDE, "global", FILTER)


def test_random_controls_keep_layers_tied() -> None:
    of = layers()
    ticket = prune(of, ones(of), 0.5, MAGNITUDE, "global", FILTER)
    control = permuted(ticket, FILTER, frozenset(), 3, {one.name: one.coupled for one in of if one.coupled})
    assert {name: int(left(mask).sum()) for name, mask in control.items()} == {
        name: int(left(mask).sum()) for name, mask in ticket.items()
    }
    np.testing.assert_array_equal(left(control["stem"]), left(control["partner"]))
    assert not np.array_equal(control["inner"], ticket["inner"])


@pytest.mark.parametrize(
    "pruning",
    [
        {},
        {"allocation": "macs"},
        {"allocation": "per_layer", "restart": "learning_rate"},
        {"schedule": "cubic", "cubic": {"every": 1, "end": 0.6}},
        {"criterion": "movement"},
    ],
)
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_a_trained_ticket_puts_out_nothing_where_filters_fell(
    tmp_path: Path, norm: str, pruning: dict[str, Any]
) -> None:
    evaluated: list[Any] = []

    def score(model: Any) -> Any:
        evaluated.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"val": {"bbox": {"AP": 0.5}}}

    found = replace(search(tmp_path / "run", norm, **pruning), score=score)
    found.check()
    found.execute()
    assert len(evaluated) >= 4
    for name in ("level_30", "level_60", "random_60"):
        trial = found.run.trial(name)
        masks = load_masks(trial.mask)
        state = TrainingState.load(trial.weights).model
        np.testing.assert_array_equal(left(masks["stem.weight"]), left(masks["outer.weight"]))
        # What was evaluated, and trained at the end, is what is stored.
        assert any(all(torch.equal(state[key], seen[key]) for key in state) for seen in evaluated)
        pruned = 0
        for layer in ("stem", "inner", "outer"):
            dead = torch.from_numpy(~left(masks[f"{layer}.weight"]))
            pruned += int(dead.sum())
            for tensor in (f"{layer}.weight", f"{layer}_norm.weight", f"{layer}_norm.bias"):
                assert not state[tensor][dead].any()
                assert state[tensor][~dead].any()
        assert pruned > 4


def test_what_is_read_otherwise_stays(tmp_path: Path) -> None:
    found = search(tmp_path / "run", norm="group")  # a norm over groups of channels ties them all
    with pytest.raises(RecipeError, match=r"3 of 3 layers keep all filters.*the most that can be reached is 0"):
        found.check()


def test_layers_tied_to_excluded_ones_stay(tmp_path: Path) -> None:
    found = search(tmp_path / "run", exclude=["fc", "stem"], levels=[0.3])
    found.check()
    found.execute()
    masks = load_masks(found.run.trial("level_30").mask)
    assert left(masks["outer.weight"]).all()
    assert not left(masks["inner.weight"]).all()


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ({"allocation": "erk"}, "erk"),
        ({"schedule": "post_training"}, "post_training"),
        ({"permute": "similarity"}, "blocks of inputs: in4, 2x4, 16x4, 32x4"),
        ({"structure": "filters"}, "structure"),
    ],
)
def test_what_makes_no_sense_is_refused(pruning: dict[str, Any], message: str) -> None:
    with pytest.raises(LthError, match=message):
        toy_recipe(pruning={"structure": "filter", **pruning})


class Named(torch.nn.Module):
    """A backbone and a head under the names that detectors have."""

    def __init__(self) -> None:
        super().__init__()
        first, second = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.Conv2d(8, 6, 3, bias=False)
        norms = [torch.nn.BatchNorm2d(channels) for channels in (8, 6)]
        self.backbone = torch.nn.Sequential(first, norms[0], torch.nn.ReLU(), second, norms[1], torch.nn.ReLU())
        self.head = torch.nn.Conv2d(6, 3, 1)
        for norm in norms:
            torch.nn.init.uniform_(norm.bias, 0.1, 0.5)

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        answer = self.head(self.backbone(torch.stack(images))).mean((2, 3))
        if targets is None:
            return answer
        return {"fit": ((answer - torch.stack([target["answer"] for target in targets])) ** 2).mean()}


def named(path: Path, **sections: Any) -> Any:
    def make(seed: int, pretrained: bool = False) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Named()

    pruning = {"structure": "filter", "levels": [0.5], "exclude": ["head"]}
    positions = {"backbone.0.weight": 16.0, "backbone.3.weight": 4.0}
    score = {"val": {"bbox": {"AP": 0.5}}}
    recipe = toy_recipe(pruning=pruning, **sections)
    return toy_search(path, recipe, build=make, positions=lambda model: positions, score=lambda model: score)


@pytest.mark.parametrize("transfer", ["ticket", "mask"])
def test_filters_of_another_run_are_silent_here_too(tmp_path: Path, transfer: str) -> None:
    source = named(tmp_path / "source")
    source.execute()
    found = named(
        tmp_path / "run",
        source={"run": str(source.run.path), "transfer": transfer, "groups": ["backbone"]},
        training={"seed": 5},
    )
    found.check()
    found.execute()
    masks, given = (load_masks(one.run.trial("level_50").mask) for one in (found, source))
    state = TrainingState.load(found.run.trial("level_50").weights).model
    for layer, norm in (("backbone.0", "backbone.1"), ("backbone.3", "backbone.4")):
        np.testing.assert_array_equal(masks[f"{layer}.weight"], given[f"{layer}.weight"])
        dead = torch.from_numpy(~left(masks[f"{layer}.weight"]))
        assert not state[f"{norm}.weight"][dead].any()
        assert not state[f"{norm}.bias"][dead].any()
    assert sparsity(masks) == pytest.approx(0.5, abs=0.12)
