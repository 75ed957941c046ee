"""`export --detectron2`: from a configuration and a checkpoint to a packed file that names COCO's classes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import lth_deploy
from lth_deploy.cli import app
from lth_deploy.config.target import Target
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.detectors.detectron2.settings import read_settings
from lth_deploy.detectors.inference import predict
from lth_deploy.errors import UsageError
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.export.detectron2.class_names import classes_of, keypoints_of
from lth_deploy.workflow.export.onnx_job import OnnxJob
from tests.detectors.detectron2.formula import (
    C4_BASE,
    CASES,
    RETINANET_BASE,
    Case,
    fill,
    image,
    reference,
    write_config,
)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """The configuration and the checkpoint, as the model zoo has it, of a RetinaNet."""
    shapes = {name: tuple(shape) for name, shape in reference("retinanet")["shapes"].items()}
    weights = tmp_path / "model_final.pkl"
    state = {name: value.numpy() for name, value in fill(shapes).items()}
    weights.write_bytes(pickle.dumps({"model": state, "__author__": "a trainer"}))
    return write_config(tmp_path, CASES["retinanet"]), weights


def test_the_packed_file_finds_what_detectron2_finds(
    trained: tuple[Path, Path], tmp_path: Path, in_this_process: None
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(image()).save(images / "blocks.png")
    files = lth_deploy.Detectron2Files(*trained)
    made = lth_deploy.export_detectron2(files, OnnxJob(images=images), target=Target(values="fp32"))
    assert made.artifact == tmp_path / "model_final-export" / "model.onnx"
    artifact = open_artifact(made.artifact)
    found, expected = artifact.predict(image()), reference("retinanet")
    assert found.labels.tolist() == expected["labels"]
    assert found.scores == pytest.approx(expected["scores"], abs=2e-4)
    assert made.checked_on.startswith("1 image")


def test_two_commands_go_from_its_files_to_a_picture(
    trained: tuple[Path, Path], tmp_path: Path, in_this_process: None
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(image()).save(images / "blocks.png")
    config, weights = map(str, trained)
    options = ["--images", str(images), "--sparsity", "0.3", "--out", str(tmp_path / "out")]
    runner = CliRunner()
    exported = runner.invoke(app, ["export", "--detectron2", config, weights, *options])
    assert exported.exit_code == 0, exported.output
    model, picture = str(tmp_path / "out" / "model.onnx"), str(images / "blocks.png")
    drawn = ["--out", str(tmp_path / "drawn"), "--threshold", "0.05"]
    predicted = runner.invoke(app, ["predict", model, picture, *drawn])
    assert predicted.exit_code == 0, predicted.output
    assert int(predicted.stdout.split()[-1]) > 0
    assert (tmp_path / "drawn" / "blocks.png").is_file()


C4 = "{RPN: {POST_NMS_TOPK_TEST: 12}, RESNETS: {STRIDE_IN_1X1: %s}, MASK_ON: %s}"
"""Few regions: the last stage of a ResNet-50 runs on each of them."""


@pytest.mark.parametrize("family", [pytest.param("faster_rcnn_c4", marks=pytest.mark.slow), "mask_rcnn_c4"])
def test_a_detector_without_a_pyramid_finds_in_its_packed_file_what_it_finds_in_torch(
    family: str, tmp_path: Path, in_this_process: None
) -> None:
    flags = ("false", "false") if family == "faster_rcnn_c4" else ("true", "true")
    case = Case(C4_BASE, f"MODEL: {C4 % flags}\nTEST: {{DETECTIONS_PER_IMAGE: 6}}")
    shapes = {name: tuple(shape) for name, shape in reference(family)["shapes"].items()}
    config, weights = write_config(tmp_path, case), tmp_path / "model_final.pth"
    torch.save({"model": fill(shapes)}, weights)
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(image()).save(images / "blocks.png")
    files = lth_deploy.Detectron2Files(config, weights)
    made = lth_deploy.export_detectron2(files, OnnxJob(images=images), target=Target(values="fp32"))
    expected = predict(convert(config, weights).model, [image()])[0]
    found = open_artifact(made.artifact).predict(image())
    assert len(expected) == 6
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=2e-2)
    if family == "mask_rcnn_c4":
        assert found.masks is not None
        assert expected.masks is not None
        assert ((found.masks >= 0.5) == (expected.masks >= 0.5)).mean() > 0.999


def test_one_source_is_given() -> None:
    result = CliRunner().invoke(app, ["export", "run", "--detectron2", "config.yaml", "model.pth"])
    assert isinstance(result.exception, UsageError)
    assert "one of them" in str(result.exception)


def test_names_follow_the_training_data(tmp_path: Path) -> None:
    coco = "MODEL: {RETINANET: {NUM_CLASSES: 80}}\nDATASETS: {TRAIN: \"('coco_2017_train',)\"}"
    settings = read_settings(write_config(tmp_path, Case(RETINANET_BASE, coco)))
    assert classes_of(settings)[0] == (1, "person")
    assert classes_of(settings)[-1] == (90, "toothbrush")
    other = read_settings(write_config(tmp_path, CASES["keypoint_rcnn"]))
    assert list(classes_of(other)) == [(1, "class_1"), (2, "class_2"), (3, "class_3")]
    assert list(keypoints_of(other)) == [f"point_{number}" for number in range(1, 6)]
    assert keypoints_of(settings) == []
