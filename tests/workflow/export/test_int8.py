"""`export --values int8`: what is quantized and what stays float, what is reported of it, and its gates."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto
from PIL import Image

from tests.tiny_artifact import save_data, save_decoder, tiny_model

pytest.importorskip("sympy", reason="the int8 extra is not installed")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import Quantization, read_metadata
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.quantization import quantize_ticket
from lth_deploy.compiler.quantization.calibrated import Calibrator
from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.config.target import CalibrationSpec, Target
from lth_deploy.errors import DataError, GateError, UsageError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.export import from_onnx, pipeline
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.export.quantization import GraphQuantizer, QuantizedGraph
from lth_deploy.workflow.gates.quantized_ap import hold_quantized_ap
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.inspect.text import facts, table

INT8 = Target(values="int8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(tiny_model(zeros=0.8), str(tmp_path / "tiny.onnx"))
    return tmp_path / "tiny.onnx"


@pytest.fixture
def job(tmp_path: Path) -> OnnxJob:
    data, images = save_data(tmp_path / "data")
    return OnnxJob(images=images, data=data, decoder=save_decoder(tmp_path), calibrate=images)


def weights_of(model: ModelProto) -> dict[str, np.ndarray]:
    return {layer.name: layer.stored.weights() for layer in weight_layers(model)}


def optimized(path: Path, folder: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def test_without_a_profile_the_same_input_gives_the_same_bytes(source: Path, job: OnnxJob, tmp_path: Path) -> None:
    target = Target(values="int8", profile=False)
    first, second = (export_onnx(source, job, target=target, out=tmp_path / name) for name in ("a", "b"))
    assert first.artifact.read_bytes() == second.artifact.read_bytes()


@pytest.mark.parametrize("method", ["mse", "minmax", "entropy", "percentile"])
def test_zeros_stay_zero_and_every_layer_has_its_error(source: Path, job: OnnxJob, method: str, tmp_path: Path) -> None:
    target = Target(values="int8", calibration=CalibrationSpec(method=method))  # type: ignore[arg-type]
    if method in ("entropy", "percentile"):
        assert job.calibrate is not None
        with pytest.raises(DataError, match="4 sizes"):
            export_onnx(source, job, target=target)
        for file in job.calibrate.iterdir():
            Image.open(file).resize((64, 48)).save(file)
        data = save_data(tmp_path / "again")
        job = replace(job, data=data[0], images=data[1])
    made = export_onnx(source, job, target=target)
    floats, int8 = weights_of(onnx.load(str(source))), weights_of(unpack_model(load_model(made.artifact)))
    for name in ("first.weight", "second.weight"):
        assert int8[name].dtype == np.int8
        assert not int8[name][floats[name] == 0].any()
        assert abs(int8[name]).reshape(len(int8[name]), -1).max() == 127
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.values == "int8"
    assert metadata.quantization is not None
    assert metadata.quantization.method == method
    assert metadata.quantization.images == 4
    errors = metadata.quantization.errors
    assert errors.keys() == floats.keys()
    assert all(0 < error < 0.1 for error in errors.values())
    assert made.ap == pytest.approx(made.dense_ap, abs=0.005)
    counts = optimized(made.artifact, tmp_path)
    assert counts["QLinearConv"] == 2
    assert counts["Conv"] == counts["FusedConv"] == 0


def test_inspect_tells_errors_and_empty_quads(source: Path, job: OnnxJob) -> None:
    report = inspect_artifact(export_onnx(source, job, target=INT8).artifact)
    header, *rows = table(report)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert all(cell["int8 error"].endswith("%") and cell["empty quads"].endswith("%") for cell in cells)
    assert ("int8", "mse over 4 images; 3 weights") in facts(report)


@pytest.mark.parametrize("target", [Target(values="int8", keep_float=["first.*"]), Target(values="int8", keep_worst=1)])
def test_layers_that_stay_float_are_float_in_the_stock_runtime_too(
    source: Path, job: OnnxJob, target: Target, tmp_path: Path
) -> None:
    made = export_onnx(source, job, target=target)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.quantization is not None
    (kept,) = metadata.quantization.kept_float
    assert kept not in metadata.quantization.errors
    assert weights_of(unpack_model(load_model(made.artifact)))[kept].dtype == np.float32
    counts = optimized(made.artifact, tmp_path)
    floats = sum(counts[name] for name in ("Conv", "FusedConv", "MatMul", "Gemm", "FusedMatMul"))
    assert (counts["QLinearConv"], floats) == ((1, 1) if kept != "head.weight" else (2, 1))
    assert any("stays float" in note for note in inspect_artifact(made.artifact).notes)


def test_the_share_of_multiplications_in_int8_is_in_the_export_its_metadata_and_inspect(
    source: Path, job: OnnxJob, tmp_path: Path
) -> None:
    made = export_onnx(source, job, target=Target(values="int8", keep_float=["first.*"]))
    # The first image has 72 x 60 pixels, and both convolutions take every second one.
    first, second, head = 36 * 30 * (16 * 3 * 9), 18 * 15 * (32 * 16 * 9), 32 * 2
    share = (second + head) / (first + second + head)
    assert made.int8_macs == pytest.approx(share)
    record = json.loads(made.report.read_text())
    assert record["int8_macs"] == pytest.approx(share)
    assert made.twin is not None
    assert record["twin"] == made.twin.as_record()
    metadata, dense = (read_metadata(load_model(file)) for file in (made.artifact, made.dense))
    assert metadata is not None
    assert dense is not None
    assert (metadata.int8_macs, dense.int8_macs) == (round(share, 4), None)
    assert ("int8 MACs", "72.7% of the multiplications by weights") in facts(inspect_artifact(made.artifact))
    floats = export_onnx(source, replace(job, calibrate=None), target=Target(), out=tmp_path / "floats")
    assert floats.int8_macs is None
    assert floats.twin is None


def test_a_pattern_that_matches_nothing_is_refused(source: Path, job: OnnxJob) -> None:
    with pytest.raises(UsageError, match="matches no weight"):
        export_onnx(source, job, target=Target(values="int8", keep_float=["nobody*"]))


def test_a_model_that_is_quantized_already_is_packed_as_it_is(source: Path, job: OnnxJob, tmp_path: Path) -> None:
    made = export_onnx(source, job, target=INT8, out=tmp_path / "first")
    quantized = tmp_path / "qdq.onnx"
    onnx.save(unpack_model(load_model(made.artifact)), str(quantized))
    again = export_onnx(quantized, replace(job, calibrate=None), target=Target(), out=tmp_path / "second")
    assert again.deviation == 0.0
    first, second = (weights_of(unpack_model(load_model(one.artifact))) for one in (made, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(UsageError, match="quantized already"):
        export_onnx(quantized, job, target=INT8, out=tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_calibration_images_are_needed_and_must_differ(source: Path, job: OnnxJob, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calibrate DIR"):
        export_onnx(source, replace(job, calibrate=None), target=INT8)
    with pytest.raises(UsageError, match="goes with --values int8"):
        export_onnx(source, job, target=Target())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder with images"):
        export_onnx(source, replace(job, calibrate=tmp_path / "empty"), target=INT8)
    alike = tmp_path / "alike"
    alike.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (10, 200, 30)).save(alike / f"{number}.png")
    with pytest.raises(DataError, match="all alike"):
        export_onnx(source, replace(job, calibrate=alike), target=INT8)
    for number in range(3):
        Image.new("RGB", (64, 64), (10 * number,) * 3).save(alike / f"{number}.png")
    with pytest.raises(DataError, match="one color"):
        export_onnx(source, replace(job, calibrate=alike), target=INT8)
    assert not (source.parent / "tiny-export").exists()


def test_more_lost_ap_than_allowed_fails_and_names_the_layers() -> None:
    quantization = Quantization(method="minmax", images=4, errors={"small": 0.01, "large": 0.2})
    before, little, more, lost = (Scores({"bbox": {"AP": ap}}) for ap in (0.5, 0.496, 0.6, 0.494))
    hold_quantized_ap(before, little, 0.005, quantization)
    hold_quantized_ap(before, more, 0.005, quantization)
    with pytest.raises(GateError, match=r"costs 0\.60 bbox AP .* large \(20\.0%\), small \(1\.0%\)"):
        hold_quantized_ap(before, lost, 0.005, quantization)


def graded(monkeypatch: pytest.MonkeyPatch, refused: int, passed_up: bool = True) -> list[int]:
    """With how much care a model was quantized each time, of an export of which the AP gate refuses the first files."""
    asked: list[int] = []

    class Asked(GraphQuantizer):
        def quantized(self, care: int = MOST_CARE) -> QuantizedGraph:
            asked.append(care)
            return replace(super().quantized(care), passed_up=passed_up and care < MOST_CARE)

    def hold(*arguments: Any, strict: bool) -> None:
        assert strict == (passed_up and asked[-1] < MOST_CARE)
        if len(asked) <= refused:
            raise GateError("quantization costs 1.00 bbox AP; nothing was written")

    monkeypatch.setattr(pipeline, "GraphQuantizer", Asked)
    monkeypatch.setattr(pipeline, "hold_quantized_ap", hold)
    monkeypatch.setattr(from_onnx, "run_limited", lambda task, arguments, _: task(**arguments))
    return asked


@pytest.mark.parametrize(("refused", "expected"), [(0, [0]), (1, [0, 1]), (2, [0, 1, 2])])
def test_layers_that_are_not_worth_their_time_become_float_where_too_much_ap_is_lost(
    refused: int, expected: list[int], source: Path, job: OnnxJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, calibrated = graded(monkeypatch, refused), []

    class Counted(Calibrator):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            calibrated.append(self)

    monkeypatch.setattr(quantize_ticket, "Calibrator", Counted)
    assert export_onnx(source, job, target=INT8).artifact.is_file()
    assert asked == expected
    assert len(calibrated) == 1, "ranges and sensitivity do not depend on care"


def test_nothing_is_tried_again_where_nothing_more_would_leave_int8(
    source: Path, job: OnnxJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = graded(monkeypatch, 9, passed_up=False)
    with pytest.raises(GateError, match="costs 1"):
        export_onnx(source, job, target=INT8)
    assert asked == [0]


def test_without_annotations_all_that_lessens_the_error_stays_float(
    source: Path, job: OnnxJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = graded(monkeypatch, 0)
    export_onnx(source, replace(job, data=None), target=INT8)
    assert asked == [MOST_CARE]
