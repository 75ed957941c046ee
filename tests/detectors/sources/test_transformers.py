import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.importing.imported import normalize  # noqa: E402
from lth_deploy.compiler.model.capture import TURNED, TracedNames, capture  # noqa: E402
from lth_deploy.compiler.model.save import to_bytes  # noqa: E402
from lth_deploy.compiler.one_shot.dead_channels import remove_dead_channels  # noqa: E402
from lth_deploy.config.foreign_specs import TransformersSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.detectors.groups import final_predictors, layer_groups  # noqa: E402
from lth_deploy.detectors.sources import source_of  # noqa: E402
from lth_deploy.detectors.sources.pixels import InputForm  # noqa: E402
from lth_deploy.errors import DataError, MissingExtraError, RecipeError  # noqa: E402
from tests.detectors.sources.transformers_configs import CONFIGS, HYBRID  # noqa: E402
from tests.pruning.filtered_models import prune_filters, pruned_counts  # noqa: E402

BAD_BACKBONE = {"model_type": "resnet", "depths": "absent"}

SOFTMAX = ("detr", "yolos")
LAST = {"d_fine": (36, 1)}
"""Outputs of final predictors beside logits and boxes: distances to four sides in nine bins, and a quality."""


def _spec(kind: str = "rt_detr_v2", **keys: Any) -> TransformersSpec:
    config = {"model_type": kind, **CONFIGS.get(kind, {}), **keys.pop("config", {})}
    return TransformersSpec(source="transformers", config=config, size=[64, 96], score_threshold=0.0, **keys)


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_architecture_learns_and_detects_and_its_graph_answers_as_it_does(kind: str) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    import onnxruntime

    spec = _spec(kind)
    torch.manual_seed(0)
    model = build_detector(spec, 3)
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([3])}
    losses = model(
        list(torch.rand(2, 3, 50, 70)), [target, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}]
    )
    sum(losses.values()).backward()
    groups = layer_groups(model)
    assert {"backbone", "decoder", "predictor"} <= set(groups.values()) | ({"decoder"} if kind == "yolos" else set())
    assert "other" not in groups.values()
    assert {len(model.get_parameter(f"{name}.weight")) for name in final_predictors(model)} <= {
        3,
        4,
        *LAST.get(kind, ()),
    }
    model = fold_norm(model.eval()).module
    found = model([torch.rand(3, 50, 70)])[0]
    assert len(found["boxes"]) > 0
    assert int(found["labels"].min()) >= 1
    assert int(found["labels"].max()) <= 3
    assert float(found["boxes"].detach()[:, 2].max()) <= 70
    form = source_of(spec).export_form(model)
    assert form.options["scores"] == ("softmax" if kind in SOFTMAX else "logits")
    names = TracedNames(form.input_name, form.output_names, {})
    graph = capture(form.module, np.full((1, 3, 64, 96), 0.5, np.float32), 18, names)
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = model.raw(pixels)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    got = session.run(None, {"pixel_values": pixels.numpy()})
    # Queries are chosen by score, and equal ones may come in another order.
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.sort(one, axis=1), np.sort(other.numpy(), axis=1), rtol=1e-2, atol=1e-3)
    assert any(name.endswith(TURNED) for node in graph.graph.node for name in node.input)


def test_numbers_of_an_architecture_do_not_learn() -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    still = [name for name, value in build_detector(_spec("d_fine"), 3).named_parameters() if not value.requires_grad]
    assert still == ["network.model.decoder.reg_scale", "network.model.decoder.up"]


def test_a_folder_of_the_package_is_read_and_its_weights_are_those_that_were_saved(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model("rt_detr_v2", **HYBRID, num_labels=5)
    theirs = transformers.AutoModelForObjectDetection.from_config(config)
    theirs.save_pretrained(tmp_path)
    spec = TransformersSpec(source="transformers", model=str(tmp_path), weights="pretrained", size=[64, 96])
    state = build_detector(spec, 5).state_dict()
    for name, tensor in theirs.state_dict().items():
        if f"network.{name}" in state:
            assert torch.equal(state[f"network.{name}"], tensor), name
    assert "network.model.backbone.model.embedder.embedder.0.convolution.weight" in state
    # Of other classes, only what gives their logits is fresh.
    other = build_detector(spec, 3).state_dict()
    fresh = {name for name in other if other[name].shape != state[name].shape}
    assert fresh
    assert all("class" in name or "score" in name for name in fresh)
    name = "network.model.decoder.layers.0.self_attn.k_proj.weight"
    assert torch.equal(other[name], state[name])


def test_weights_that_are_pickled_are_not_read(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    config = transformers.AutoConfig.for_model("rt_detr_v2", **HYBRID)
    model = transformers.AutoModelForObjectDetection.from_config(config)
    config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    spec = TransformersSpec(source="transformers", model=str(tmp_path), weights="pretrained", size=[64, 96])
    with pytest.raises(DataError, match=r"its weights cannot be read .*model\.safetensors"):
        build_detector(spec, 3)


def test_tensors_that_modules_share_are_once_in_a_state_and_come_back() -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    torch.manual_seed(0)
    first, second = build_detector(_spec(), 3), build_detector(_spec(), 3)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    assert set(dict(first.named_parameters())) <= state.keys()
    assert not [name for name in state if name.startswith("network.class_embed.")]
    second.load_state_dict(state)
    image = [torch.rand(3, 64, 96)]
    assert torch.equal(first.eval()(image)[0]["scores"], second.eval()(image)[0]["scores"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec("rt_dert"), "detector.config.model_type: 'rt_dert' is not known here; did you mean 'rt_detr'?"),
        (
            _spec(config={"d_modle": 3}),
            "detector.config: 'd_modle' is no key of this architecture; did you mean 'd_model'",
        ),
        (_spec(config={"decoder_layers": "absent"}), "detector.config: transformers refuses it: "),
        (_spec(config={"backbone_config": BAD_BACKBONE}), "detector.config: transformers refuses it: "),
        (_spec(config={"decoder_attention_heads": 5}), "detector.config: transformers refuses it: "),
    ],
)
def test_configurations_that_transformers_cannot_use_are_refused(spec: TransformersSpec, message: str) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    with pytest.raises(RecipeError, match=re.escape(message)) as caught:
        build_detector(spec, 3)
    assert "\n" not in str(caught.value)


def test_a_folder_whose_configuration_has_values_of_other_types_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    config = {"model_type": "rt_detr_v2", **HYBRID, "decoder_layers": "absent"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"cannot be read: .*decoder_layers"):
        build_detector(TransformersSpec(source="transformers", model=str(tmp_path), size=[64, 96]), 3)


def test_a_folder_whose_configuration_builds_no_network_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    config = transformers.AutoConfig.for_model("rt_detr_v2", **HYBRID)
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, "decoder_attention_heads": 0}))
    spec = TransformersSpec(source="transformers", model=str(tmp_path), weights="pretrained", size=[64, 96])
    with pytest.raises(DataError, match=r"cannot build its network: ZeroDivisionError: .*; restore its config\.json"):
        build_detector(spec, 3)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    with pytest.raises(DataError, match="cannot be read"):
        build_detector(TransformersSpec(source="transformers", model=str(tmp_path)), 3)
    with pytest.raises(DataError, match="cannot be read: there is no such folder; name"):
        build_detector(TransformersSpec(source="transformers", model=str(tmp_path / "absent")), 3)


def test_an_absent_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lth-deploy[transformers]'")):
        build_detector(_spec(), 3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [({}, "name a model, or give config.model_type"), ({"weights": "pretrained"}, "name a model")],
)
def test_a_section_without_a_network_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformersSpec(source="transformers", **keys)


@pytest.mark.parametrize("antialiased", [True, False])
@pytest.mark.parametrize("fit", ["stretch", "letterbox-corner"])
@pytest.mark.parametrize("size", [(50, 70), (200, 90)])
def test_pixels_are_those_that_decoders_make(fit: Any, size: tuple[int, int], antialiased: bool) -> None:
    from lth_deploy.decoders.image.preprocessing import Preprocessing, normalized, placed

    statistics = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    form = InputForm((64, 96), fit, **statistics, color="bgr", antialiased=antialiased)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    how = Preprocessing.from_data(form.recorded())
    canvas, where = placed(image, 64, 96, how)
    (mine,), (place,) = form.batch([torch.from_numpy(image).permute(2, 0, 1) / 255])
    np.testing.assert_allclose(mine.numpy(), normalized(canvas, how), atol=1e-5)
    boxes = torch.tensor([[3.0, 4.0, 40.0, 30.0]])
    np.testing.assert_allclose(place.back(place.into(boxes)).numpy(), boxes, rtol=1e-5)
    np.testing.assert_allclose(where.to_image(place.into(boxes).numpy()), boxes, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_without_pruned_filters_its_graph_answers_as_with_them(kind: str) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    import onnxruntime

    torch.manual_seed(0)
    detector = build_detector(_spec(kind), 3)
    masks = prune_filters(detector, 0.4)
    form = source_of(_spec(kind)).export_form(fold_norm(detector).module)
    assert form.shape is not None
    names = TracedNames(form.input_name, form.output_names, {})
    graph = capture(form.module, np.full(form.shape, 0.5, np.float32), 18, names)
    smaller, report = remove_dead_channels(normalize(graph))
    pruned = pruned_counts(masks)
    # Two layers of tokens in each block of a transformer; the convolutions of a backbone, where there is one.
    assert {masks[name].ndim for name in pruned} == ({2} if kind == "yolos" else {2, 4})
    assert {name.removesuffix(TURNED): one for name, one in report.removed.items()} == pruned
    # Others begin with weights of zero.
    assert not {name.removesuffix(TURNED) for name in report.left} & pruned.keys()
    feed = {form.input_name: np.random.default_rng(0).random(form.shape, np.float32)}
    expected, found = (
        onnxruntime.InferenceSession(to_bytes(one), providers=["CPUExecutionProvider"]).run(None, feed)
        for one in (graph, smaller.proto)
    )
    # Queries are chosen by score, and equal ones may come in another order.
    for whole, ours in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.sort(ours, axis=1), np.sort(whole, axis=1), rtol=1e-3, atol=1e-3)
