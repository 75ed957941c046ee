"""`export --onnx --sparsity --calibrate`: what is chosen, what is reported, and which options exclude each other."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.target import Target
from lth_deploy.errors import DataError, UsageError
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.export.onnx_export import loss_rows
from tests.tiny_artifact import save_data, save_decoder, tiny_model

FP32 = Target(values="fp32")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(tiny_model(zeros=0.0), str(tmp_path / "tiny.onnx"))
    return tmp_path / "tiny.onnx"


@pytest.fixture
def job(tmp_path: Path) -> OnnxJob:
    _, images = save_data(tmp_path / "data")
    return OnnxJob(sparsity=0.5, decoder=save_decoder(tmp_path), calibrate=images)


def test_images_to_calibrate_on_mean_reconstruction(source: Path, job: OnnxJob) -> None:
    made = export_onnx(source, job, target=FP32)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.level == "obs_50"
    assert made.sparsity == pytest.approx(0.5, abs=1e-3)
    assert made.deviation == 0.0
    losses = json.loads(made.report.read_text())["losses"]
    assert losses.keys() == made.losses.keys()
    assert all(losses[name]["error"] <= losses[name]["magnitude_error"] for name in losses)
    header, *rows = loss_rows(made.losses)
    assert [row[0] for row in rows] == list(losses)
    assert len({len(row) for row in (header, *rows)}) == 1


def test_magnitude_can_be_asked_for_where_int8_needs_the_images(source: Path, job: OnnxJob) -> None:
    with pytest.raises(UsageError, match="--calibrate goes with"):
        export_onnx(source, replace(job, one_shot="magnitude"), target=FP32)
    without = replace(job, calibrate=None)
    made = export_onnx(source, without, target=FP32)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.level == "magnitude_50"
    assert not made.losses


def test_without_images_in_the_folder_nothing_is_written(source: Path, job: OnnxJob, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder with images"):
        export_onnx(source, replace(job, calibrate=tmp_path / "empty"), target=FP32)
    assert not (tmp_path / "tiny-export").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"one_shot": "obd"}, "choose obs or magnitude"),
        ({"one_shot": "obs", "calibrate": None}, "--calibrate DIR"),
        ({"structure": "in4", "calibrate": None}, "--structure in4 is for"),
        ({"sparsity": None, "one_shot": "obs"}, "--sparsity SHARE"),
        ({"sparsity": None}, "--calibrate goes with"),
        ({"structure": "3x3"}, "unknown structure '3x3'"),
        ({"decoder": "yolox"}, r"'yolox' takes \[1, N, 5 \+ C\]"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    source: Path, job: OnnxJob, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_onnx(source, replace(job, **changes), target=FP32)  # type: ignore[arg-type]
