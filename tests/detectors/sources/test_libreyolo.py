import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.importing.imported import normalize  # noqa: E402
from lth_deploy.compiler.model.capture import TracedNames, capture  # noqa: E402
from lth_deploy.compiler.model.save import to_bytes  # noqa: E402
from lth_deploy.compiler.one_shot.dead_channels import remove_dead_channels  # noqa: E402
from lth_deploy.config.foreign_specs import LibreyoloSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.detectors.groups import final_predictors, layer_groups, prunable_modules  # noqa: E402
from lth_deploy.detectors.sources import source_of  # noqa: E402
from lth_deploy.detectors.sources.source import deployed_form  # noqa: E402
from lth_deploy.errors import DataError, MissingExtraError  # noqa: E402
from lth_deploy.pruning.accounting import parameters  # noqa: E402
from tests.pruning.filtered_models import prune_filters, pruned_counts  # noqa: E402

REASON = "the extra 'zoo' is not installed"
MODELS = ("yolox_nano", "yolov9_t")
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}


def _spec(model: Any = "yolox_nano", **keys: Any) -> LibreyoloSpec:
    return LibreyoloSpec(source="libreyolo", model=model, size=[64, 96], **keys)


def _built(model: str = "yolox_nano", **keys: Any) -> Any:
    torch.manual_seed(0)
    return build_detector(_spec(model, **keys), 3)


@pytest.mark.parametrize(
    ("model", "keys", "terms"),
    [
        ("yolox_nano", {}, {"iou", "obj", "cls"}),
        ("yolox_nano", {"l1_loss": True}, {"iou", "obj", "cls", "l1"}),
        ("yolov9_t", {}, {"box", "dfl", "cls"}),
        ("yolov9_t", {"auxiliary": 0.25}, {"box", "dfl", "cls"}),
    ],
)
def test_losses_are_those_of_the_package_for_boxes_in_pixels_of_its_input(
    model: str, keys: dict[str, Any], terms: set[str]
) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    detector = _built(model, **keys)
    images = list(torch.rand(2, 3, 32, 48))
    target = {"boxes": torch.tensor([[2.0, 4.0, 20.0, 28.0], [10.0, 2.0, 46.0, 30.0]]), "labels": torch.tensor([3, 1])}
    losses = detector(images, [target, dict(NOTHING)])
    assert losses.keys() == terms
    # The image is half as large as the input on both sides.
    rows = {
        "yolox_nano": [[2, 22, 32, 36, 48], [0, 56, 32, 72, 56]],
        "yolov9_t": [[2, 4 / 96, 8 / 64, 40 / 96, 56 / 64], [0, 20 / 96, 4 / 64, 92 / 96, 60 / 64]],
    }[model]
    own = detector.network(detector.form.batch(images)[0], torch.tensor([rows, [[0.0] * 5] * 2], dtype=torch.float32))
    assert float(sum(losses.values()).detach()) == pytest.approx(float(own["total_loss"].detach()), rel=1e-6)
    sum(losses.values()).backward()
    assert all(value.grad is not None for name, value in detector.named_parameters() if ".aux" in name)
    empty = detector(images, [dict(NOTHING), dict(NOTHING)])
    assert all(bool(loss.isfinite()) for loss in empty.values())


def test_an_auxiliary_branch_is_trained_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    plain, detector = _built("yolov9_t"), _built("yolov9_t", auxiliary=0.25)
    assert any(".aux_head." in name for name in detector.state_dict())
    assert prunable_modules(detector).keys() == prunable_modules(plain).keys()
    assert layer_groups(detector) == layer_groups(plain)
    assert parameters(detector) == parameters(plain)
    folded = fold_norm(detector.eval())
    assert folded.kept == ()
    image = [torch.rand(3, 64, 96)]
    detector.load_state_dict(detector.state_dict() | plain.state_dict())
    with torch.no_grad():
        assert torch.equal(detector(image)[0]["boxes"], plain.eval()(image)[0]["boxes"])
    torch.save(plain.network.state_dict(), tmp_path / "plain.pt")
    read = _built("yolov9_t", auxiliary=0.25, weights=str(tmp_path / "plain.pt"))
    assert "tensors of the auxiliary branch stay fresh" in caplog.text
    caplog.clear()
    torch.save(read.network.state_dict(), tmp_path / "whole.pt")
    again = _built("yolov9_t", auxiliary=0.25, weights=str(tmp_path / "whole.pt"))
    assert caplog.text == ""
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in read.state_dict().items())
    assert not any(".aux" in name for name in _built("yolov9_t", weights=str(tmp_path / "whole.pt")).state_dict())


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("yolov9_t", {"l1_loss": True}, "l1_loss is a loss of YOLOX, and model is 'yolov9_t'"),
        ("yolox_s", {"auxiliary": 0.25}, "auxiliary is a branch of YOLOv9, and model is 'yolox_s'"),
    ],
)
def test_losses_of_the_other_family_are_refused(model: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _spec(model, **keys)


@pytest.mark.parametrize("model", MODELS)
def test_without_pruned_filters_its_graph_answers_as_with_them(model: str) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    import onnxruntime

    detector = _built(model)
    masks = prune_filters(detector, 0.4)
    form = source_of(_spec(model)).export_form(fold_norm(detector).module)
    names = TracedNames(form.input_name, form.output_names, {})
    graph = capture(form.module, np.full((1, 3, 64, 96), 0.5, np.float32), 18, names)
    smaller, report = remove_dead_channels(normalize(graph))
    assert report.removed == pruned_counts(masks)
    assert report.left == {}
    assert sum(lost for lost, _ in report.removed.values()) > 300
    feed = {"images": np.random.default_rng(0).random((1, 3, 64, 96), np.float32)}
    expected, found = (
        onnxruntime.InferenceSession(to_bytes(one), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for one in (graph, smaller.proto)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_pairs_of_convolutions_are_exported_as_one() -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    detector = _built("yolov9_t").eval()
    with torch.no_grad():
        for name, value in detector.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(std=0.1)
            elif name.endswith(("running_var", "bn.weight")):
                value.uniform_(0.5, 1.5)
        pairs = [name for name, module in detector.named_modules() if type(module).__name__ == "RepConvN"]
        for name in pairs:
            for branch in ("conv1", "conv2"):
                weight = detector.get_parameter(f"{name}.{branch}.conv.weight")
                weight *= torch.rand_like(weight) < 0.3
    source = source_of(_spec("yolov9_t"))
    merged = deployed_form(source, detector, quantized=False).module
    assert pairs
    assert not any(type(module).__name__ == "RepConvN" for module in merged.modules())
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(merged.raw(pixels), detector.raw(pixels), rtol=1e-4, atol=1e-3)
    for name in pairs:
        wide, narrow = (detector.get_parameter(f"{name}.{branch}.conv.weight") for branch in ("conv1", "conv2"))
        expected = wide != 0
        expected[:, :, 1, 1] |= narrow[:, :, 0, 0] != 0
        assert torch.equal(merged.get_parameter(f"{name}.conv.weight") != 0, expected)
    # Ranges that were learned belong to the two.
    assert deployed_form(source, detector, quantized=True).module is detector
    plain = _built("yolox_nano")
    assert deployed_form(source_of(_spec()), plain, quantized=False).module is plain


@pytest.mark.parametrize("model", MODELS)
def test_losses_wait_for_no_other_rank(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    import libreyolo.models.yolo9.loss
    import libreyolo.models.yolox.nn

    def waits(*_: Any, **__: Any) -> Any:
        raise AssertionError("asks the other ranks")

    monkeypatch.setattr(libreyolo.models.yolox.nn, "all_reduce_avg_scalar", waits)
    monkeypatch.setattr(libreyolo.models.yolo9.loss, "all_reduce_avg_scalar_tensor", waits)
    keys: dict[str, Any] = {"auxiliary": 0.25} if model == "yolov9_t" else {"l1_loss": True}
    losses = _built(model, **keys)([torch.rand(3, 64, 96)], [dict(NOTHING)])
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert libreyolo.models.yolox.nn.all_reduce_avg_scalar is waits


def test_pixels_are_those_of_the_package() -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    from libreyolo.models.yolo9.utils import preprocess_numpy as yolo9
    from libreyolo.preprocess.yolox import preprocess_numpy as yolox

    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    for model, theirs, tolerance in (("yolox_nano", yolox, 0.0), ("yolov9_t", yolo9, 1.01 / 255)):
        mine = _built(model).form.batch([torch.from_numpy(image).permute(2, 0, 1) / 255])[0][0]
        np.testing.assert_allclose(mine.numpy(), np.squeeze(theirs(image, (64, 96))[0]), atol=tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_its_graph_answers_as_it_does_and_its_layers_have_parts(model: str) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    import onnxruntime

    detector = _built(model)
    assert set(layer_groups(detector).values()) == {"backbone", "fpn", "dense_head", "predictor"}
    outputs = {len(detector.get_parameter(f"{name}.weight")) for name in final_predictors(detector)}
    assert outputs == ({3, 4, 1} if model == "yolox_nano" else {3, 64})
    folded = fold_norm(detector.eval())
    assert folded.kept == ()
    form = source_of(_spec(model)).export_form(folded.module)
    graph = capture(
        form.module, np.full((1, 3, 64, 96), 0.5, np.float32), 18, TracedNames(form.input_name, form.output_names, {})
    )
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = detector.raw(pixels)
    (got,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"images": pixels.numpy()})
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_weights_of_the_package_are_read_and_predictors_of_other_classes_stay_fresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("libreyolo", reason=REASON)
    from libreyolo.models.yolox.nn import LibreYOLOXModel

    torch.manual_seed(1)
    theirs = LibreYOLOXModel("n", nb_classes=5).state_dict()
    torch.save({"model": theirs, "epoch": 3}, tmp_path / "theirs.pt")
    detector = _built(weights=str(tmp_path / "theirs.pt"))
    assert "6 tensors of the final predictors are for other classes" in caplog.text
    own = detector.state_dict()
    assert torch.equal(own["network.head.reg_preds.0.weight"], theirs["head.reg_preds.0.weight"])
    torch.save({"model": {**theirs, "head.more.weight": torch.zeros(2)}}, tmp_path / "theirs.pt")
    with pytest.raises(DataError, match=r"have no place in the recipe's network: network\.head\.more\.weight"):
        _built(weights=str(tmp_path / "theirs.pt"))


def test_an_absent_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libreyolo", None)
    monkeypatch.setitem(sys.modules, "libreyolo.models.yolox.nn", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lth-deploy[zoo]'")):
        build_detector(_spec(), 3)


@pytest.mark.parametrize("size", [[100, 64], [32, 64], [64]])
def test_sizes_that_the_grids_do_not_divide_are_refused(size: list[int]) -> None:
    with pytest.raises(ValueError, match="size"):
        LibreyoloSpec(source="libreyolo", model="yolox_nano", size=size)
