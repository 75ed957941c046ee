"""Callbacks of a search: what they are called with, that they can do no harm, and what TensorBoard and MLflow keep."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")

import torch

import lth_deploy
from lth_deploy import storage
from lth_deploy.config.tracking_spec import MlflowSpec, TensorBoardSpec, TrackingSpec
from lth_deploy.errors import MissingExtraError, RecipeError
from lth_deploy.run.callbacks import Callback, Callbacks
from lth_deploy.run.summary import ExampleImage, RunSummary
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.workflow.tracking import callbacks_of
from tests.workflow.ticket_runs import tiny_recipe

RESULT = TrialResult(
    name="level_80",
    kind="ticket",
    steps=(10, 60),
    positions={},
    sparsity_prunable=0.8,
    zero_macs=0.6,
    val={"bbox": {"AP": 0.35, "AP50": None}},
)


class Noted(Callback):
    """Keeps every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, run: Path, recipe: Any) -> None:
        self.calls.append(("begin", run.name))

    def prune(self, trial: str, step: int, zeros: Mapping[str, float]) -> None:
        self.calls.append(("prune", trial, step, round(zeros["all"], 2)))

    def rewind(self, trial: str, step: int) -> None:
        self.calls.append(("rewind", trial, step))

    def epoch(self, trial: str, epoch: float, step: int, losses: Mapping[str, float], rate: float) -> None:
        self.calls.append(("epoch", trial, epoch, step))

    def checkpoint(self, trial: str, step: int, file: Path) -> None:
        assert file.is_file()
        self.calls.append(("checkpoint", trial, step))

    def level(self, result: TrialResult) -> None:
        self.calls.append(("level", result.name))

    def end(self, run: Path, summary: RunSummary) -> None:
        self.calls.append(("end", summary.finished))

    def export(self, run: Path, trial: str, files: Sequence[Path]) -> None:
        self.calls.append(("export", trial))


def searched(out: Path, *callbacks: Callback, **pruning: Any) -> None:
    """A search of a network of two layers."""

    def build(seed: int) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))

    def train(model: Any, start: int, stop: int) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(start, stop):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).pow(2).mean().backward()
            optimizer.step()

    lth_deploy.search_ticket(
        build,
        train=train,
        evaluate=lambda model: 0.5,
        pruning={"levels": [0.5, 0.75], "rewind": {"step": 2}, **pruning},
        steps=6,
        steps_per_epoch=2,
        out=out,
        callbacks=callbacks,
    )


def test_a_search_says_what_happens_in_its_order(tmp_path: Path) -> None:
    noted = Noted()
    searched(tmp_path / "run", noted)
    level = noted.calls[noted.calls.index(("level", "dense")) + 1 :]
    assert noted.calls[:1] == [("begin", "run")]
    assert level[:2] == [("rewind", "level_50", 2), ("prune", "level_50", 2, 0.5)]
    assert ("epoch", "level_50", 3.0, 6) in level
    assert level.index(("checkpoint", "level_50", 6)) < level.index(("level", "level_50"))
    assert ("prune", "level_75", 2, 0.75) in level
    assert noted.calls[-1] == ("end", True)
    assert not [call for call in noted.calls if call[:2] == ("prune", "dense")]


def test_a_gradual_search_says_each_point_of_its_rise(tmp_path: Path) -> None:
    noted = Noted()
    searched(tmp_path / "run", noted, schedule="cubic", levels=[0.75])
    points = [call[2:] for call in noted.calls if call[:2] == ("prune", "level_75")]
    assert points == sorted(points)
    assert points[-1][1] == 0.75
    assert len(points) > 1


def test_masks_and_weights_are_the_same_with_and_without_callbacks(tmp_path: Path) -> None:
    searched(tmp_path / "with", Noted())
    searched(tmp_path / "without")
    for name in ("dense", "level_50", "level_75"):
        first, second = (tmp_path / one / "trials" / name / "weights.safetensors" for one in ("with", "without"))
        assert storage.sha256(first) == storage.sha256(second)


def test_a_callback_that_fails_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Callback):
        def epoch(self, *_: object) -> None:
            raise ConnectionError("no route to the server")

    noted = Noted()
    package = logging.getLogger("lth_deploy")
    package.propagate, before = True, package.propagate
    try:
        with caplog.at_level(logging.WARNING, "lth_deploy"):  # another test may have asked for less
            searched(tmp_path / "run", Broken(), noted)
    finally:
        package.propagate = before
    warnings = [record.getMessage() for record in caplog.records if "Broken" in record.getMessage()]
    assert len(warnings) == 1
    assert "failed at 'epoch' (ConnectionError: no route to the server)" in warnings[0]
    assert noted.calls[-1] == ("end", True)


def test_the_recipe_names_callbacks_and_its_digest_does_not_change() -> None:
    recipe = tiny_recipe()
    tracked = recipe.model_copy(update={"tracking": TrackingSpec(tensorboard=TensorBoardSpec())})
    assert tracked.digest() == recipe.digest()
    with pytest.raises(RecipeError, match=r"tracking\.callbacks: no callback is called 'mine'"):
        callbacks_of(TrackingSpec(callbacks=["mine"]), Path())


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_what_is_missing_is_said_before_the_search(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    spec = (
        TrackingSpec(tensorboard=TensorBoardSpec()) if package == "tensorboard" else TrackingSpec(mlflow=MlflowSpec())
    )
    with pytest.raises(MissingExtraError, match=rf"pip install 'lth-deploy\[{package}\]'"):
        callbacks_of(spec, Path())


def all_moments(callbacks: Callbacks, run: Path) -> None:
    """One search with an image and an export."""
    from PIL import Image

    (run / "pictures").mkdir(parents=True)
    Image.fromarray(np.full((12, 16, 3), 200, np.uint8)).save(run / "pictures" / "0.png")
    (run / "summary.json").write_text("{}")
    callbacks.begin(run, tiny_recipe())
    callbacks.rewind("level_80", 10)
    callbacks.prune("level_80", 10, {"body.conv1.weight": 0.7, "all": 0.8})
    callbacks.epoch("level_80", 2.0, 40, {"box": 0.5, "class": 0.25}, 0.01)
    callbacks.checkpoint("level_80", 40, run / "summary.json")
    callbacks.level(RESULT)
    summary = RunSummary(finished=True, pictures=[ExampleImage(title="a", path="pictures/0.png")])
    callbacks.end(run, summary)
    callbacks.export(run, "level_80", [run / "summary.json"])
    assert len(callbacks.members) == 1, "the tracker failed"


def test_tensorboard_reads_scalars_and_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard comes with the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    all_moments(callbacks_of(TrackingSpec(tensorboard=TensorBoardSpec()), tmp_path), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "level_80")).Reload()
    figures = {
        tag: [(one.step, round(one.value, 3)) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert figures["loss/total"] == [(40, 0.75)]
    assert figures["loss/box"] == [(40, 0.5)]
    assert figures["learning_rate"] == [(40, 0.01)]
    assert figures["val/bbox/AP"] == [(60, 35.0)]
    assert figures["zeros/all"] == [(10, 80.0)]
    assert "val/bbox/AP50" not in figures
    examples = EventAccumulator(str(tmp_path / "tensorboard" / "examples")).Reload()
    (image,) = examples.Images("detections/0")
    assert (image.width, image.height) == (16, 12)


@pytest.mark.parametrize("store", [pytest.param("sqlite", marks=pytest.mark.slow), "file"])
def test_mlflow_keeps_figures_parameters_and_files(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow comes with the extra 'mlflow'")
    if store == "sqlite":
        pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra 'mlflow'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = tmp_path / "run"
    uri = f"sqlite:///{tmp_path}/m.db" if store == "sqlite" else f"file://{tmp_path}/store"
    spec = TrackingSpec(mlflow=MlflowSpec(uri=uri, experiment="tickets"))
    all_moments(callbacks_of(spec, run), run)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("tickets").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["level_80/val/bbox/AP"] == pytest.approx(35.0)
    assert found.data.metrics["level_80/zeros"] == pytest.approx(80.0)
    assert [one.step for one in client.get_metric_history(found.info.run_id, "level_80/loss/box")] == [40]
    assert found.data.params["training.batch_size"] == str(tiny_recipe().training.batch_size)
    again = callbacks_of(spec, run)
    again.begin(run, tiny_recipe())
    assert len(client.search_runs([found.info.experiment_id])) == 1
