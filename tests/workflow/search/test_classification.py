"""Tickets of a classifier are searched by the same engine, and serve a detector."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.bundled import recipe_file  # noqa: E402
from lth_deploy.config.recipe import Recipe, load_recipe  # noqa: E402
from lth_deploy.errors import DataError, RecipeError, UsageError  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.export.from_run import export  # noqa: E402
from lth_deploy.workflow.report import report  # noqa: E402
from lth_deploy.workflow.search.find_ticket import TicketResult, find_ticket  # noqa: E402
from tests.image_folders import COLORS, draw_folder  # noqa: E402
from tests.workflow.ticket_runs import tiny_recipe  # noqa: E402

LEVELS = {"levels": [0.8]}


def classification(folder: Path, **training: object) -> Recipe:
    for seed, split in enumerate(("train", "val", "test")):
        if not (folder / split).exists():
            draw_folder(folder / split, 4, seed=seed)
    return tiny_recipe(
        "classifier",
        data={
            "format": "folder",
            "shapes": {},
            **{split: {"images": str(folder / split)} for split in ("train", "val", "test")},
        },
        training={"steps": 12, "batch_size": 6, "optimizer": {"name": "adamw", "lr": 1e-3}, **training},
        detector={"min_size": 32, "max_size": 32},
        pruning={**LEVELS, "scope": "paper"},
        selection={"metric": "top1", "bootstrap_samples": 50, "tolerance": 0.9},
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TicketResult:
    folder = tmp_path_factory.mktemp("classifier")
    return find_ticket(classification(folder), folder / "run", device="cpu")


def test_colors_are_learned_and_scored_by_accuracy(source: TicketResult) -> None:
    trials = {trial.name: trial for trial in source.summary.trials}
    assert set(trials) == {"dense", "level_80", "random_80"}
    assert source.summary.dataset.classes == sorted(COLORS)
    scores = trials["dense"].val["top1"]
    assert scores["AP"] > 0.6
    assert scores["top5"] == 1.0
    assert [part.name for part in trials["level_80"].parts] == ["backbone", "predictor"]
    winner = source.summary.winner
    assert winner is not None
    assert winner.metric == "top1"
    low, high = winner.interval
    assert low <= winner.test_ap - winner.dense_test_ap <= high


def test_a_classifiers_ticket_becomes_the_backbone_of_a_detector(source: TicketResult, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        pruning={**LEVELS, "scope": "paper"},
        source={"run": str(source.run), "missing": "direct"},
        training={"steps": 3},
    )
    result = find_ticket(recipe, tmp_path / "run", device="cpu")
    theirs, ours = RunDirectory.open(source.run), RunDirectory.open(result.run)
    given, taken = (load_masks(run.trial("level_80").mask) for run in (theirs, ours))
    final = TrainingState.load(ours.trial("level_80").weights).model
    for name, mask in given.items():
        assert (taken[name] == mask).all(), name
        assert not final[name].numpy()[~mask].any(), name
    trial = next(trial for trial in result.summary.trials if trial.name == "level_80")
    shares = {part.name: part.zeros / part.prunable for part in trial.parts if part.prunable}
    assert shares["backbone"] == pytest.approx(0.8, abs=1e-4)
    outside = [part for part in trial.parts if part.name in ("fpn", "dense_head")]
    zeros, prunable = (sum(getattr(part, key) for part in outside) for key in ("zeros", "prunable"))
    assert zeros == round(0.8 * prunable)
    assert any("come from" in note and "same mean and deviation" in note for note in result.summary.notes)


def test_the_report_speaks_of_accuracy(source: TicketResult, tmp_path: Path) -> None:
    page = report(source.run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Top-1 accuracy, val" in page
    assert "Parts of the network" in page


def test_a_classifier_is_no_detector(source: TicketResult) -> None:
    with pytest.raises(UsageError, match=r"tickets of a classifier, which serve detectors as 'source\.run'"):
        export(source.run)


def test_classes_that_differ_between_splits_are_refused(tmp_path: Path) -> None:
    recipe = classification(tmp_path)
    (tmp_path / "val" / "red").rename(tmp_path / "val" / "scarlet")
    with pytest.raises(DataError, match="split 'val' has the categories"):
        find_ticket(recipe, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"data": {"format": "shapes"}, "family": "classifier"},
            "'classifier' cannot learn from data of format 'shapes'",
        ),
        (
            {"data": {"format": "folder", "train": {"images": "a"}, "val": {"images": "b"}, "shapes": {}}},
            "'retinanet' cannot",
        ),
        (
            {"data": {"format": "folder", "train": {"images": "a", "annotations": "x"}, "val": {"images": "b"}}},
            "train.annotations: format 'folder' has no annotations but the names of its folders",
        ),
        ({"data": {"format": "coco", "train": {"images": "a"}, "val": {"images": "b"}}}, "format 'coco' needs them"),
    ],
)
def test_what_a_classifier_cannot_use_is_refused(sections: dict[str, object], message: str) -> None:
    family = str(sections.pop("family", "retinanet"))
    with pytest.raises(RecipeError, match=message):
        tiny_recipe(family, **sections)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quantization.levels=[0]", "a classifier is not exported"),
        ("training.augment.zoom=[0.5, 2]", "zoom is for detectors"),
    ],
)
def test_what_only_detectors_have_is_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file("paper/imagenet_r18"), [override], check_variables=False)
