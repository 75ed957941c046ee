import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.model.capture import TURNED, TracedNames, capture  # noqa: E402
from lth_deploy.config.detector_spec import TransformersSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.detectors.groups import final_predictors, layer_groups  # noqa: E402
from lth_deploy.detectors.sources import source_of  # noqa: E402
from lth_deploy.detectors.sources.pixels import InputForm  # noqa: E402
from lth_deploy.errors import DataError, MissingExtraError, RecipeError  # noqa: E402

RESNET: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [16, 24, 32, 48],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage2", "stage3", "stage4"],
}
SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_layers": 2,
    "num_queries": 20,
}
HYBRID: dict[str, Any] = {
    **SMALL,
    "backbone_config": {"model_type": "rt_detr_resnet", **RESNET},
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [24, 32, 48],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 10,
    # As many as cells: scores of a fresh network are so close that rounding would choose others.
    "num_queries": 126,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "rt_detr": HYBRID,
    "rt_detr_v2": HYBRID,
    "detr": {**SMALL, "encoder_layers": 1, "backbone_config": {"model_type": "resnet", **RESNET}},
    "deformable_detr": {**SMALL, "encoder_layers": 1, "backbone_config": {"model_type": "resnet", **RESNET}},
    "yolos": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [64, 96],
        "num_detection_tokens": 20,
    },
}
SOFTMAX = ("detr", "yolos")


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
    assert {len(model.get_parameter(f"{name}.weight")) for name in final_predictors(model)} <= {3, 4}
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
    ],
)
def test_configurations_that_say_nothing_known_are_refused(spec: TransformersSpec, message: str) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    with pytest.raises(RecipeError, match=re.escape(message)):
        build_detector(spec, 3)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
    with pytest.raises(DataError, match="cannot be read"):
        build_detector(TransformersSpec(source="transformers", model=str(tmp_path)), 3)


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


@pytest.mark.parametrize("fit", ["stretch", "letterbox-corner"])
@pytest.mark.parametrize("size", [(50, 70), (200, 90)])
def test_pixels_are_those_that_decoders_make(fit: Any, size: tuple[int, int]) -> None:
    from lth_deploy.decoders.image.preprocessing import Preprocessing, normalized, placed

    form = InputForm((64, 96), fit, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), color="bgr")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    how = Preprocessing.from_data(form.recorded())
    canvas, where = placed(image, 64, 96, how)
    (mine,), (place,) = form.batch([torch.from_numpy(image).permute(2, 0, 1) / 255])
    np.testing.assert_allclose(mine.numpy(), normalized(canvas, how), atol=1e-5)
    boxes = torch.tensor([[3.0, 4.0, 40.0, 30.0]])
    np.testing.assert_allclose(place.back(place.into(boxes)).numpy(), boxes, rtol=1e-5)
    np.testing.assert_allclose(where.to_image(place.into(boxes).numpy()), boxes, rtol=1e-5)
