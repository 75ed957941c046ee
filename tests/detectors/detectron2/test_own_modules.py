"""detectron2's own modules under torchvision's protocol, and the same detector on torchvision's modules."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lth_deploy.config.detector_spec import Detectron2Spec
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.detectron2.own_states import as_torchvision
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.groups import final_predictors, layer_groups
from lth_deploy.detectors.inference import to_input
from lth_deploy.errors import DataError, MissingPackageError
from tests.detectors.detectron2.formula import CASES, IMAGE_SIZE, fill, image, reference, write_config
from tests.detectors.detectron2.make_references import tiles

REASON = "detectron2 is built from source"
SLOW = ("faster_rcnn_c4", "mask_rcnn_c4")


def own_spec(folder: Path, name: str, **keys: Any) -> Detectron2Spec:
    """The section of a case whose checkpoint the formula has written."""
    shapes = {key: tuple(shape) for key, shape in reference(name)["shapes"].items()}
    torch.save({"model": fill(shapes)}, folder / "model_final.pth")
    config = write_config(folder, CASES[name])
    given = {"weights": str(folder / "model_final.pth"), "min_size": 160, "max_size": 224, **keys}
    family: Any = name.removesuffix("_c4").removesuffix("_rgb")
    return Detectron2Spec(source="detectron2", name=family, config=str(config), modules="detectron2", **given)


def built(folder: Path, name: str, classes: int = 3, **keys: Any) -> Any:
    """The detector on detectron2's modules, in training mode."""
    pytest.importorskip("detectron2.modeling", reason=REASON)
    torch.manual_seed(0)
    return build_detector(own_spec(folder, name, **keys), classes, 5)


def truth() -> dict[str, Tensor]:
    """One object with all that is learned from."""
    mask = torch.zeros(1, *IMAGE_SIZE, dtype=torch.uint8)
    mask[:, 10:90, 10:100] = 1
    points = torch.tensor([[[20.0 + 10 * number, 30.0, 2.0] for number in range(5)]])
    box = torch.tensor([[10.0, 10.0, 100.0, 90.0]])
    return {"boxes": box, "labels": torch.tensor([2]), "masks": mask, "keypoints": points}


def picture() -> list[Tensor]:
    return [to_input(torch.from_numpy(image()))]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES])
def test_it_finds_what_detectron2_found_and_so_does_its_form_for_export(name: str, tmp_path: Path) -> None:
    model = built(tmp_path, name).eval()
    expected = reference(name)
    deployed = as_torchvision(model)
    folded = fold_norm(model)
    assert folded.kept == ()
    layers = layer_groups(model)
    assert "other" not in layers.values()
    assert set(layers.values()) == set(layer_groups(deployed.module).values())
    assert {deployed.names[layer] for layer in layers} == layer_groups(deployed.module).keys()
    assert {deployed.names[layer] for layer in final_predictors(model)} == final_predictors(deployed.module)
    for form in (model, deployed.module, folded.module, as_torchvision(folded.module).module):
        with torch.no_grad():
            found = form(picture())[0]
        assert found["labels"].tolist() == expected["labels"]
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=2e-5)
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=5e-3)
        if "masks" in expected:
            np.testing.assert_allclose(tiles((found["masks"][:, 0] >= 0.5).float()), expected["masks"], atol=2e-3)
        if "keypoints" in expected:
            np.testing.assert_allclose(found["keypoints"][:, :, :2], expected["keypoints"], atol=5e-3)


@pytest.mark.parametrize("name", ["faster_rcnn_rgb", "mask_rcnn", "keypoint_rcnn", "retinanet"])
def test_its_losses_are_those_of_detectron2(name: str, tmp_path: Path) -> None:
    model = built(tmp_path, name, min_size=160, max_size=192)  # the image is not resized
    events = pytest.importorskip("detectron2.utils.events", reason=REASON)
    structures = pytest.importorskip("detectron2.structures", reason=REASON)
    target = truth()
    instances = structures.Instances(IMAGE_SIZE)
    instances.gt_boxes, instances.gt_classes = structures.Boxes(target["boxes"]), torch.tensor([1])
    instances.gt_masks = structures.BitMasks(target["masks"].bool())
    instances.gt_keypoints = structures.Keypoints(target["keypoints"])
    pixels = image() if name == "faster_rcnn_rgb" else image()[:, :, ::-1]
    fed = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32))
    with events.EventStorage():
        torch.manual_seed(1)
        expected = model.network([{"image": fed, "instances": instances}])
    vars(model.network).pop("loss_normalizer", None)
    torch.manual_seed(1)
    losses = model(picture(), [target])
    assert losses.keys() == expected.keys()
    for key, loss in losses.items():
        assert float(loss.detach()) == pytest.approx(float(expected[key].detach()), rel=1e-5), key
    sum(losses.values()).backward()
    learned = {key for key, value in model.named_parameters() if value.grad is not None}
    assert learned == {key for key, value in model.named_parameters() if value.requires_grad}


def test_the_average_that_divides_its_losses_is_part_of_the_state(tmp_path: Path) -> None:
    through, stopped = built(tmp_path, "retinanet"), built(tmp_path, "retinanet")
    through(picture(), [truth()])
    state = {key: value.clone() for key, value in through.state_dict().items()}
    assert float(state["normalizer"]) > 0
    expected = through(picture(), [truth()])
    stopped.load_state_dict(state)
    found = stopped(picture(), [truth()])
    assert all(torch.equal(found[key], loss) for key, loss in expected.items())
    # A state from before the first step begins anew, whatever the module did since.
    fresh = built(tmp_path, "retinanet")
    stopped.load_state_dict(fresh.state_dict())
    expected, found = fresh(picture(), [truth()]), stopped(picture(), [truth()])
    assert all(torch.equal(found[key], loss) for key, loss in expected.items())


def test_predictors_for_other_classes_stay_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = built(tmp_path, "mask_rcnn", 5)
    assert "for other classes and stay fresh" in caplog.text
    state, checkpoint = model.state_dict(), torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert state["network.roi_heads.box_predictor.cls_score.weight"].shape[0] == 6
    name = "roi_heads.box_head.fc2.weight"
    assert torch.equal(state[f"network.{name}"], checkpoint[name])
    # FREEZE_AT is 2: the stem and the first stage.
    assert not model.get_parameter("network.backbone.bottom_up.res2.0.conv1.weight").requires_grad
    assert model.get_parameter("network.backbone.bottom_up.res3.0.conv1.weight").requires_grad


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("detectron2.modeling", reason=REASON)
    spec = own_spec(tmp_path, "retinanet")
    state = torch.load(spec.weights, weights_only=True)["model"]
    state["head.cls_score.weights"] = state.pop("head.cls_score.weight")
    torch.save({"model": state}, spec.weights)
    with pytest.raises(DataError, match=r"has no place for head\.cls_score\.weights"):
        build_detector(spec, 3)


def test_images_without_what_it_learns_from_are_refused(tmp_path: Path) -> None:
    model = built(tmp_path, "mask_rcnn")
    with pytest.raises(DataError, match="the images have no masks, which this detector learns from"):
        model(picture(), [{key: value for key, value in truth().items() if key != "masks"}])


def test_an_absent_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("detectron2", "detectron2.modeling", "detectron2.config"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = own_spec(tmp_path, "retinanet")
    with pytest.raises(MissingPackageError, match=r"'detectron2' needs .* pip install --no-build-isolation"):
        build_detector(spec, 3)
