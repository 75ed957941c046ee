"""What `export --values int8` says where there are no annotations: int8 beside the dense model, image by image."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from tests.tiny_artifact import BOXES, save_data, save_decoder, tiny_model

pytest.importorskip("sympy", reason="the int8 extra is not installed")

from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.errors import GateError, UsageError
from lth_deploy.workflow.export import pipeline
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.export.quantization import GraphQuantizer, QuantizedGraph

INT8 = Target(values="int8")


def saved(model: ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


@pytest.fixture
def job(tmp_path: Path) -> OnnxJob:
    _, images = save_data(tmp_path / "data")
    return OnnxJob(decoder=save_decoder(tmp_path), calibrate=images)


def with_tensor(model: ModelProto, name: str, values: np.ndarray) -> ModelProto:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def moved_by_quantization(monkeypatch: pytest.MonkeyPatch, pixels: float) -> None:
    """Plant a fault: what int8 finds lies elsewhere."""

    class Moved(GraphQuantizer):
        def quantized(self, care: int = MOST_CARE) -> QuantizedGraph:
            made = super().quantized(care)
            tensors = {"boxes_at": BOXES + np.float32(pixels)}
            return replace(made, graph=made.graph.with_tensors(tensors))

    monkeypatch.setattr(pipeline, "GraphQuantizer", Moved)


def test_every_detection_of_the_dense_model_is_looked_for(tmp_path: Path, job: OnnxJob) -> None:
    made = export_onnx(saved(tiny_model(), tmp_path / "tiny.onnx"), job, target=INT8)
    assert made.agreement is not None
    assert (made.agreement.images, made.agreement.reference, made.agreement.matched) == (4, 4, 4)
    assert made.agreement.iou == 1.0
    assert 0 < abs(made.agreement.score_difference) < 0.01
    assert not made.agreement.poor
    assert json.loads(made.report.read_text())["agreement"]["matched"] == 4


def test_with_annotations_ap_is_measured_instead(tmp_path: Path, job: OnnxJob) -> None:
    data, images = save_data(tmp_path / "annotated")
    job = replace(job, data=data, images=images)
    made = export_onnx(saved(tiny_model(), tmp_path / "tiny.onnx"), job, target=INT8)
    assert (made.agreement, made.ap) == (None, pytest.approx(1.0))
    floats = export_onnx(tmp_path / "tiny.onnx", replace(job, calibrate=None), target=Target(), out=tmp_path / "out")
    assert floats.agreement is None


def test_a_poor_agreement_is_a_warning(
    tmp_path: Path,
    job: OnnxJob,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    moved_by_quantization(monkeypatch, 40)
    with caplog.at_level(logging.WARNING):
        made = export_onnx(saved(tiny_model(), tmp_path / "tiny.onnx"), job, target=INT8)
    assert made.agreement is not None
    assert (made.agreement.matched, made.agreement.extra) == (0, 4)
    assert "0 of 4 detections of the dense model (0.0%) have a match" in caplog.text
    assert "measure its AP (--data ANN.json --images DIR)" in caplog.text


def test_with_annotations_lost_ap_ends_the_export_without_being_asked_for(
    tmp_path: Path, job: OnnxJob, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    moved_by_quantization(monkeypatch, 40)
    data, images = save_data(tmp_path / "annotated")
    source = saved(tiny_model(), tmp_path / "tiny.onnx")
    assert GatesSpec().int8_ap_drop == 0.005
    with pytest.raises(GateError, match=r"quantization costs 100\.00 bbox AP .* Nothing was written"):
        export_onnx(source, replace(job, data=data, images=images), target=INT8)
    assert not (tmp_path / "tiny-export").exists()


def test_where_the_dense_model_finds_nothing_this_is_said(
    tmp_path: Path, job: OnnxJob, caplog: pytest.LogCaptureFixture, in_this_process: None
) -> None:
    model = with_tensor(tiny_model(), "head.weight", np.full((32, 2), -9.0))
    with caplog.at_level(logging.WARNING):
        made = export_onnx(saved(model, tmp_path / "tiny.onnx"), job, target=INT8)
    assert made.agreement is not None
    assert made.agreement.reference == 0
    assert "so nothing is known of what int8 costs" in caplog.text


def test_without_a_decoder_no_image_can_be_fed_and_the_sentence_says_so(tmp_path: Path, job: OnnxJob) -> None:
    model = tiny_model()
    model.graph.output[0].name = model.graph.node[-2].output[0] = "where"
    words = (
        r"tiny.onnx cannot be calibrated, .* no decoder fits outputs .where. .* Give --decoder NAME or --decoder FILE"
    )
    with pytest.raises(UsageError, match=words):
        export_onnx(saved(model, tmp_path / "tiny.onnx"), replace(job, decoder=None), target=INT8)
