import io
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from torchvision.models import get_model

from lth_deploy.detectors import build_detector, weights
from lth_deploy.detectors.weights import load_detector, read_state
from lth_deploy.errors import DataError, RecipeError
from tests.tiny_detectors import CLASSES, FAMILIES, KEYPOINTS, tiny_detector, tiny_spec, torch

BODY = "backbone.body"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_detector_comes_back(name: str, suffix: str, tmp_path: Path) -> None:
    trained = tiny_detector(name, seed=1).state_dict()
    path = tmp_path / f"weights{suffix}"
    _save(trained, path)
    loaded = build_detector(tiny_spec(name, weights=str(path)), CLASSES, KEYPOINTS).state_dict()
    assert all(torch.equal(loaded[key], trained[key]) for key in trained)


def test_wrapped_and_prefixed_states_are_understood(tmp_path: Path) -> None:
    trained = tiny_detector("retinanet", seed=1).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"model": {f"module.{key}": value for key, value in trained.items()}, "epoch": 3}, path)
    assert read_state(path).keys() == trained.keys()


@pytest.mark.parametrize(("name", "backbone"), [("retinanet", "resnet18"), ("ssdlite", "mobilenet_v3_large")])
def test_a_classifiers_weights_fill_the_backbone(name: str, backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    arguments = {"reduced_tail": True} if name == "ssdlite" else {}
    classifier = get_model(backbone, weights=None, **arguments)
    torch.nn.init.normal_(next(classifier.parameters()))
    path = tmp_path / "classifier.pth"
    torch.save(classifier.state_dict(), path)
    model = build_detector(tiny_spec(name, weights=str(path)), CLASSES).eval()
    images = torch.rand(1, 3, 64, 64)
    if name == "retinanet":
        body, stages = model.backbone.body, list(classifier.eval().children())[:-2]
        expected = torch.nn.Sequential(*stages)(images)
        torch.testing.assert_close(list(body(images).values())[-1], expected)
    else:
        for block in classifier.features.modules():
            if isinstance(block, torch.nn.BatchNorm2d):
                block.eps = 0.001
        expected = classifier.eval().features(images)
        torch.testing.assert_close(model.backbone.features(images), expected)


def test_other_classes_leave_only_the_predictors_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained = tiny_detector("mask_rcnn", seed=1).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(trained, path)
    loaded = build_detector(tiny_spec("mask_rcnn", weights=str(path)), CLASSES + 4).state_dict()
    differing = {key for key in trained if trained[key].shape != loaded[key].shape}
    assert {key.rpartition(".")[0] for key in differing} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert all(torch.equal(loaded[key], trained[key]) for key in trained.keys() - differing)
    assert "stay fresh" in caplog.text


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "ssdlite"])
def test_coco_columns_are_picked_for_the_80_classes(name: str) -> None:
    source = build_detector(tiny_spec(name), 91 if name == "retinanet" else 90)
    state = source.state_dict()
    key, anchors, width = {
        "faster_rcnn": ("roi_heads.box_predictor.bbox_pred.bias", 1, 4),
        "retinanet": ("head.classification_head.cls_logits.bias", 9, 1),
        "ssdlite": ("head.classification_head.module_list.2.1.bias", 6, 1),
    }[name]
    # Each output says which class it is for.
    state[key] = torch.arange(91.0).repeat_interleave(width).repeat(anchors)
    model = build_detector(tiny_spec(name), 80)
    load_detector(model, state, "coco", 80)
    column = model.state_dict()[key].reshape(anchors, -1, width)
    assert torch.equal(column, column[:1, :, :1].expand_as(column))
    classes = column[0, :, 0].int().tolist()
    if name != "retinanet":
        assert classes.pop(0) == 0, "the background comes first"
    assert len(classes) == 80
    assert classes[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13], "12 is a gap in COCO"
    assert classes[-1] == 90


def test_torchvisions_background_column_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    state = tiny_detector("fcos").state_dict()
    key = "head.classification_head.cls_logits"
    state[f"{key}.bias"] = torch.arange(CLASSES + 1.0)
    state[f"{key}.weight"] = torch.rand(CLASSES + 1, 16, 3, 3)
    model = tiny_detector("fcos")
    load_detector(model, state, "file", CLASSES)
    assert model.state_dict()[f"{key}.bias"].tolist() == [1.0, 2.0, 3.0]
    assert "background" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.regression_head.conv.0.0.weight"), "missing.*regression_head.conv.0"),
        (lambda state: state.update(stranger=torch.zeros(1)), "no place.*stranger"),
        (lambda state: state.update({f"{BODY}.conv1.weight": torch.zeros(64, 3, 5, 5)}), "shapes differ"),
        (lambda state: state.update({f"{BODY}.bn1.bias": torch.full((64,), torch.nan)}), "not finite"),
        (lambda state: state.update(backbone=3), "not a tensor"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Any, message: str, tmp_path: Path) -> None:
    state = tiny_detector("retinanet").state_dict()
    change(state)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(DataError, match=message):
        build_detector(tiny_spec("retinanet", weights=str(path)), CLASSES)


def test_a_tensor_of_another_name_is_named_with_the_nearest(tmp_path: Path) -> None:
    state = tiny_detector("retinanet").state_dict()
    torch.save({name.replace("layer3", "layr3"): value for name, value in state.items()}, tmp_path / "weights.pth")
    near = f"{BODY}.layer3.0.bn1.bias (the file has '{BODY}.layr3.0.bn1.bias'); "
    with pytest.raises(DataError, match=re.escape(near) + r".* and \d+ more"):
        build_detector(tiny_spec("retinanet", weights=str(tmp_path / "weights.pth")), CLASSES)


def test_what_else_a_file_holds_is_named_without_advice_to_run_it(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save({"a": Payload(tmp_path / "ran")}, tmp_path / "payload.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"a": Payload(tmp_path / "ran")}, 4))
    for name, reason in (
        ("module", r"it refers to torch\.nn\.modules\.linear\.Linear"),
        ("payload", r"it refers to \w+"),
        ("text", "it is damaged"),
        ("raw", "it holds more than tensors, or is damaged"),
    ):
        with pytest.raises(DataError, match=f"{reason}; save the tensors alone") as caught:
            read_state(tmp_path / f"{name}.pth")
        assert "weights_only" not in str(caught.value)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_hostile_and_damaged_files_are_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    good = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, good)
    marker = tmp_path / "ran"
    contents = [b"", b"\0" * 64, b"\xff" * 200, good.getvalue()[:100], pickle.dumps(Payload(marker)), b"[1]"]
    for index, content in enumerate(contents):
        path = tmp_path / f"{index}{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=str(path.name)):
            read_state(path)
    assert not marker.exists()
    with pytest.raises(DataError, match="no such weights file"):
        read_state(tmp_path / "absent.pth")


def test_group_norm_cannot_take_torchvisions_weights() -> None:
    with pytest.raises(RecipeError, match="group"):
        build_detector(tiny_spec("retinanet", norm="group", weights="backbone"), CLASSES)


def test_unpublished_weights_are_refused_with_what_there_is() -> None:
    with pytest.raises(RecipeError, match="faster_rcnn on resnet50"):
        build_detector(tiny_spec("retinanet", weights="torchvision"), CLASSES)


def test_published_weights_give_the_published_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were trained with an epsilon of zero; here it is 1e-5, and the loader makes up for it."""
    from torchvision.models.detection._utils import overwrite_eps

    torch.manual_seed(2)
    theirs = get_model("retinanet_resnet50_fpn", weights=None, weights_backbone=None).eval()
    overwrite_eps(theirs, 0.0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Such small variances occur in the published file, and there the epsilon matters.
            module.eps = 0.0
            module.running_var.uniform_(1e-5, 1e-3)
            module.weight.data.fill_(0.01)
    monkeypatch.setattr(weights, "_download", lambda name: dict(theirs.state_dict()))
    spec = tiny_spec("retinanet", backbone="resnet50", fpn_width=256, weights="torchvision", norm="frozen")
    ours = build_detector(spec, 80).eval()
    image = torch.rand(1, 3, 64, 64)
    for mine, published in zip(ours.backbone(image).values(), theirs.backbone(image).values(), strict=True):
        torch.testing.assert_close(mine, published, rtol=1e-3, atol=1e-4)


def test_no_network_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent/hub")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DataError, match=r"resnet18.*other means"):
        build_detector(tiny_spec("retinanet", weights="backbone"), CLASSES)


def _save(state: dict[str, Any], path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
