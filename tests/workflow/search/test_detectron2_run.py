"""A search that begins from a checkpoint of detectron2, and the file that its ticket becomes."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

import torch

from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import load_recipe
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.errors import RecipeError
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.training import session
from lth_deploy.training.state import TrainingState
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from tests.workflow.search.detectron2_recipes import recipe


@pytest.mark.parametrize("name", ["retinanet", "mask_rcnn", "keypoint_rcnn"])
def test_a_ticket_is_found_and_exported(name: str, tmp_path: Path) -> None:
    original = recipe(tmp_path, name, pruning={"levels": [0.8]}, controls={"random": []})
    run = tmp_path / "run"
    assert find_ticket(original, run, device="cpu").finished
    assert sparsity(load_masks(RunDirectory.open(run).trial("level_80").mask)) == pytest.approx(0.8, abs=2e-3)
    made = export(run, level="level_80", out=tmp_path / "export")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    kinds = {"retinanet": {"bbox"}, "mask_rcnn": {"bbox", "segm"}, "keypoint_rcnn": {"bbox", "keypoints"}}
    assert set(made.gate.file_ap) == kinds[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faster_rcnn_c4", "mask_rcnn_c4"])
def test_a_ticket_of_a_checkpoint_without_a_pyramid_is_found_and_exported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 32 x 32 pixels there are 60 anchors, so that the last stage of the ResNet-50 runs on few regions."""
    starts: list[dict[str, Any]] = []
    train = session.train

    def spying(stepper: Any, *rest: Any) -> None:
        starts.append({key: value.clone() for key, value in stepper.model.state_dict().items()})
        train(stepper, *rest)

    monkeypatch.setattr(session, "train", spying)
    short = {"training": {"steps": 2}, "controls": {"random": []}}
    searched = recipe(tmp_path, name, 32, pruning={"levels": [0.8], "rewind": {"step": 1}}, **short)
    run = tmp_path / "run"
    assert find_ticket(searched, run, device="cpu").finished
    checkpoint = convert(Path(searched.detector.config), tmp_path / "model_final.pth").model.state_dict()
    assert all(torch.equal(starts[0][key], value) for key, value in checkpoint.items())
    masks = load_masks(RunDirectory.open(run).trial("level_80").mask)
    assert sparsity(masks) == pytest.approx(0.8, abs=1e-4)
    head = [key for key in masks if key.startswith("roi_heads.box_head.layer4.")]
    assert any(not masks[key].all() for key in head)
    snapshot = TrainingState.load(RunDirectory.open(run).rewind).model
    assert all(torch.equal(starts[1][key], snapshot[key] * torch.from_numpy(masks[key])) for key in head)
    made = export(run, level="level_80", out=tmp_path / "export")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    assert set(made.gate.file_ap) == ({"bbox", "segm"} if name == "mask_rcnn_c4" else {"bbox"})


@pytest.mark.parametrize("name", ["retinanet", pytest.param("mask_rcnn", marks=pytest.mark.slow)])
def test_its_smoke_runs_through_the_export(name: str, tmp_path: Path) -> None:
    small = smoke_recipe(recipe(tmp_path, name, pruning={"structure": "in4"}), tmp_path / "initial.safetensors")
    assert small.detector.weights == str(tmp_path / "initial.safetensors")
    assert find_ticket(small, tmp_path / "run", device="cpu").finished
    made = export(tmp_path / "run", level="level_80", out=tmp_path / "export")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0


def test_predictors_for_other_classes_stay_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = recipe(tmp_path, "mask_rcnn").detector
    same, other = (build_detector(spec, classes) for classes in (3, 5))
    score = "roi_heads.box_predictor.cls_score.weight"
    tower = "roi_heads.box_head.fc7.weight"
    checkpoint = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert torch.equal(same.get_parameter(score)[1:], checkpoint[score][:-1])
    assert other.get_parameter(score).shape[0] == 6
    assert torch.equal(other.get_parameter(tower), checkpoint["roi_heads.box_head.fc2.weight"])
    assert "for other classes and stay fresh: roi_heads.box_predictor.bbox_pred.bias" in caplog.text
    assert not other.get_parameter("backbone.body.layer1.0.conv1.weight").requires_grad
    assert other.get_parameter("backbone.body.layer2.0.conv1.weight").requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "faster_rcnn"}, "is of a retinanet, and detector.name is 'faster_rcnn'"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    spec = recipe(tmp_path).detector.model_copy(update=change)
    with pytest.raises(RecipeError, match=message):
        build_detector(spec, 3)


def test_keypoints_are_needed_where_they_are_found(tmp_path: Path) -> None:
    spec = recipe(tmp_path, "keypoint_rcnn").detector
    with pytest.raises(RecipeError, match="no category of the data set names any"):
        build_detector(spec, 3)


def test_paths_of_a_recipe_are_seen_from_its_folder(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    document = made.model_dump(mode="json", exclude_defaults=True)
    document["detector"] |= {"source": "detectron2", "config": "config.yaml", "weights": "model_final.pth"}
    (tmp_path / "recipe.yaml").write_text(strict_yaml.dump(document))
    detector = load_recipe(tmp_path / "recipe.yaml").detector
    assert detector.source == "detectron2"
    assert Path(detector.config) == tmp_path / "config.yaml"
    assert Path(detector.weights) == tmp_path / "model_final.pth"
