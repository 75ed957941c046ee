"""`export --onnx` on models from elsewhere, and its gates."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import Measured, read_metadata
from lth_deploy.compiler.model.grouped_reasons import in_words
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError, GateError, ParityError, UsageError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.measure.parity import compare_tensors
from lth_deploy.workflow.export import dead_channels, onnx_source, tune_regions
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.gates.raw_outputs import tensors_of
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.inspect.text import facts
from tests.compiler.onnx_models import Net, detector


@pytest.fixture(autouse=True)
def small_noise(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 24)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    save_model(detector(0.0, opset=13, width=64), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("format_", ["packed", "dense", "coo"])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_export_prunes_packs_and_says_what_it_did(model_file: Path, format_: str, values: str) -> None:
    target = Target(format=format_, values=values)  # type: ignore[arg-type]
    made = export_onnx(model_file, OnnxJob(sparsity=0.8), target=target)
    assert made.artifact.parent == model_file.parent / "net-export"
    assert made.deviation == 0.0
    report = inspect_artifact(made.artifact)
    assert report.format == format_
    assert report.prunable.share == pytest.approx(0.8, abs=1e-3)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.level == "magnitude_80"
    assert metadata.positions.keys() == {row.name for row in report.layers}
    assert json.loads(made.report.read_text())["sparsity"] == made.sparsity
    assert inspect_artifact(made.dense).prunable.zeros == 0


def test_without_sparsity_nothing_is_pruned_and_fp16_halves_the_file(model_file: Path) -> None:
    made = export_onnx(model_file, target=Target(values="fp16"))
    assert made.sparsity == pytest.approx(0.0, abs=1e-3)
    assert made.bytes < 0.56 * made.dense_bytes


def test_without_a_profile_the_same_input_gives_the_same_bytes(model_file: Path, tmp_path: Path) -> None:
    job, target = OnnxJob(sparsity=0.8), Target(profile=False)
    first, second = (export_onnx(model_file, job, target=target, out=tmp_path / name) for name in ("a", "b"))
    assert first.artifact.read_bytes() == second.artifact.read_bytes()
    assert first.dense.read_bytes() == second.dense.read_bytes()


def test_an_artifact_can_be_exported_again(model_file: Path) -> None:
    first = export_onnx(model_file, OnnxJob(sparsity=0.5), target=Target(values="fp32"))
    again = export_onnx(first.artifact, OnnxJob(sparsity=0.9), target=Target(values="fp32"))
    assert inspect_artifact(again.artifact).prunable.share == pytest.approx(0.9, abs=1e-3)
    assert inspect_artifact(again.dense).prunable.share == pytest.approx(0.5, abs=1e-3)


def with_dead_filters(*dead: int) -> ModelProto:
    """A network of which somebody pruned whole filters of the first layer."""
    net = Net()
    stem = net.node("Relu", [net.conv("stem", "x", (16, 3, 3, 3), dead)], "stem.relu")
    body = net.node("Relu", [net.conv("body", stem, (12, 16, 3, 3))], "body.relu")
    net.conv("head", body, (8, 12, 1, 1))
    return shape_inference.infer_shapes(net.model("head"))


@pytest.mark.parametrize("format_", ["packed", "dense"])
def test_channels_that_are_zero_are_left_out(format_: str, tmp_path: Path) -> None:
    save_model(with_dead_filters(1, 5, 6), tmp_path / "net.onnx")
    made = export_onnx(tmp_path / "net.onnx", target=Target(format=format_, values="fp32"))  # type: ignore[arg-type]
    report = inspect_artifact(made.artifact)
    shapes = {layer.name: layer.shape for layer in report.layers}
    assert shapes["stem.weight"] == (13, 3, 3, 3)
    assert shapes["body.weight"] == (12, 13, 3, 3)
    assert report.metadata is not None
    assert report.metadata.removed_channels == {"stem.weight": (3, 16)}
    whole, gone = 16 * 27 + 12 * 16 * 9 + 8 * 12, 3 * 27 + 12 * 3 * 9
    assert made.sparsity == pytest.approx(gone / whole)
    dense = inspect_artifact(made.dense)
    assert {layer.name: layer.shape for layer in dense.layers}["stem.weight"] == (16, 3, 3, 3)
    assert dense.metadata is not None
    assert not dense.metadata.removed_channels
    again = export_onnx(made.artifact, out=tmp_path / "again")
    said = read_metadata(load_model(again.artifact))
    assert said is not None
    assert said.removed_channels == {"stem.weight": (3, 16)}


def test_dead_channels_stay_where_a_file_without_them_computes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(with_dead_filters(1, 5, 6), tmp_path / "net.onnx")
    honest = dead_channels.remove_dead_channels

    def faulty(model: NormalizedModel) -> object:
        smaller, report = honest(model)
        bias = next(tensor for tensor in smaller.proto.graph.initializer if tensor.name == "body.bias")
        return smaller.with_tensors({bias.name: numpy_helper.to_array(bias)[::-1].copy()}), report

    monkeypatch.setattr(dead_channels, "remove_dead_channels", faulty)
    made = export_onnx(tmp_path / "net.onnx", target=Target(values="fp32"))
    assert "smaller.onnx does not compute" in caplog.text
    assert made.deviation == 0.0
    report = inspect_artifact(made.artifact)
    assert {layer.name: layer.shape for layer in report.layers}["stem.weight"] == (16, 3, 3, 3)
    assert report.metadata is not None
    assert not report.metadata.removed_channels


def _swap_two_weights(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "stem.weight")
    weights = numpy_helper.to_array(tensor).copy()
    flat = weights.reshape(-1)
    low, high = int(flat.argmin()), int(flat.argmax())
    flat[[low, high]] = flat[[high, low]]
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


def _drop_bias(model: ModelProto) -> None:
    next(node for node in model.graph.node if node.name == "stem").input.pop()


@pytest.mark.parametrize("plant", [_swap_two_weights, _drop_bias])
def test_a_planted_fault_fails_the_gate_and_nothing_is_written(
    plant: Callable[[ModelProto], None], model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tune_regions.emitter

    def faulty(model: NormalizedModel, target: Target) -> object:
        def emitted(facts: Facts) -> object:
            file, layers = original(model, target)(facts)
            plant(file)
            return file, layers

        return emitted

    monkeypatch.setattr(tune_regions, "emitter", faulty)
    with pytest.raises(ParityError, match=r"worst output '(scores|f)'"):
        export_onnx(model_file, target=Target(format="dense", values="fp32"))
    assert not (model_file.parent / "net-export").exists()


def test_lost_ap_is_held_to_its_bound(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.33, 0.29])
    monkeypatch.setattr(onnx_source.ApOf, "__call__", lambda *_: Scores({"bbox": {"AP": next(figures)}}))
    job = OnnxJob(sparsity=0.3, images=model_file.parent, data=model_file, max_ap_drop=0.01)
    monkeypatch.setattr(onnx_source, "decoder_of", lambda path, job, original: None)
    monkeypatch.setattr(onnx_source, "check_classes", lambda original, decoder, job: None)
    with pytest.raises(GateError, match=r"33\.0 to 29\.0"):
        export_onnx(model_file, job)
    assert not (model_file.parent / "net-export").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": Path("a.json")}, "--images DIR"),
        ({"max_ap_drop": 0.1}, "--data ANN.json"),
        ({"sparsity": 1.0}, r"not in \[0, 1\)"),
        ({"sparsity": float("nan")}, r"not in \[0, 1\)"),
        ({"sparsity": 0.5, "structure": "3x3"}, "unknown structure '3x3'"),
        ({"sparsity": 0.5, "structure": "filter"}, r"search it with find-ticket and pruning\.structure: filter"),
    ],
)
def test_a_job_that_cannot_work_is_refused_when_it_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OnnxJob(**options)


@pytest.mark.parametrize("job", [OnnxJob(images=Path()), OnnxJob(images=Path(), decoder="nanodot")])
def test_images_without_a_decoder_that_reads_them_are_refused(job: OnnxJob, model_file: Path) -> None:
    with pytest.raises(UsageError):
        export_onnx(model_file, job)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("not a model")
    with pytest.raises(ArtifactError):
        export_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_a_real_detector_is_packed_bit_for_bit(values: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "models" / "nanodet_g_416.onnx"
    job = OnnxJob(sparsity=0.8, images=shared_data / "data" / "coco128" / "images", decoder="nanodet")
    target = Target(values=values, gates={"images": 2})  # type: ignore[arg-type]
    made = export_onnx(source, job, target=target, out=tmp_path)
    assert made.deviation == 0.0
    assert made.bytes < source.stat().st_size / (4 if values == "fp32" else 6.5)
    assert np.isclose(made.sparsity, 0.8, atol=1e-3)


def two_outputs(model: ModelProto) -> ModelProto:
    """The model, which also returns a sequence and a value of which no shape is declared."""
    model.graph.node.append(helper.make_node("SequenceConstruct", ["f", "scores"], ["both"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("both", TensorProto.FLOAT, None))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def test_sequences_and_values_without_a_shape_are_exported_and_compared(tmp_path: Path) -> None:
    save_model(two_outputs(detector(0.8)), tmp_path / "net.onnx")
    made = export_onnx(tmp_path / "net.onnx", target=Target(values="fp32", profile=False))
    assert made.deviation < 1e-4
    assert not load_model(made.artifact).graph.output[0].type.tensor_type.HasField("shape")


def test_a_sequence_that_differs_is_seen() -> None:
    one, other = np.zeros(3, np.float32), np.ones(3, np.float32)
    for changed in ([one, other], [one], [one, one, one]):
        wanted, found = tensors_of({"s": [one, one]}), tensors_of({"s": changed})
        assert not compare_tensors(wanted, found).passed
    assert compare_tensors(
        tensors_of({"s": [one, {"a": 1.0}, None]}), tensors_of({"s": [one, {"a": 1.0}, None]})
    ).passed
    assert not compare_tensors(tensors_of({"s": None}), tensors_of({"s": one})).passed


def test_shapes_are_fixed_reach_the_noise_and_are_noted(tmp_path: Path) -> None:
    save_model(detector(0.8), tmp_path / "net.onnx")
    job = OnnxJob(shapes={"image": (1, 3, 20, 28)})
    made = export_onnx(tmp_path / "net.onnx", job, target=Target(values="fp32", profile=False))
    assert made.checked_on == "4 inputs of seeded noise (image 1x3x20x28)"
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.predicted_for == {"image": [1, 3, 20, 28]}
    described = inspect_artifact(made.artifact)
    tuned = metadata.model_copy(update={"measured": Measured(cpu="any", times={})})
    assert ("times are for", "image 1x3x20x28") in facts(replace(described, metadata=tuned))
    for file in (made.artifact, made.dense):
        (value,) = onnx.load(file).graph.input
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 3, 20, 28]
    with pytest.raises(UsageError, match="does not fit input 'image'"):
        inspect_artifact(made.artifact, {"image": (1, 3, 40, 56)})
    free = export_onnx(tmp_path / "net.onnx", target=Target(values="fp32", profile=False), out=tmp_path / "free")
    larger = inspect_artifact(free.artifact, {"image": (1, 3, 40, 56)})
    assert larger.metadata is not None
    assert larger.metadata.predicted_for == {"image": [1, 3, 40, 56]}
    stem = {row.name: row.positions for row in larger.layers}["stem.weight"]
    assert stem == 40 * 56 == 4 * metadata.positions["stem.weight"]


def test_the_record_says_why_layers_are_not_packed(tmp_path: Path) -> None:
    save_model(detector(0.0), tmp_path / "net.onnx")
    made = export_onnx(tmp_path / "net.onnx", target=Target(values="fp32", profile=False))
    assert made.not_packed == {"too few zeros: no coding is smaller": 6}
    assert json.loads(made.report.read_text())["not_packed"] == made.not_packed
    assert in_words(made.not_packed | {"x": 1}) == "6 layers: too few zeros: no coding is smaller; 1 layer: x"
