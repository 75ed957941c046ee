"""What `inspect` says of the speed of a file: of its layers, and of the whole model with what is no layer."""

import json
from pathlib import Path

import pytest

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, read_metadata
from lth_deploy.compiler.model.save import save_model
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.inspect.predicted_speed import predicted_model, speed_facts
from lth_deploy.workflow.inspect.report import LayerRow
from lth_deploy.workflow.inspect.text import facts
from tests.roi_align_models import pooling_detector


def row(region: str | None, times: tuple[float, float] | None) -> LayerRow:
    return LayerRow("w", "Conv", (1, 1), 1, 0, 1, "dense", 4, 4.0, 1, None, region=region, predicted_ms=times)


ROWS = [row("Region0", (10.0, 40.0)), row(None, (9.0, 5.0)), row(None, None)]


def test_the_model_is_its_layers_and_the_rest() -> None:
    metadata = ArtifactMetadata(rest=(5.0, 15.0))
    assert predicted_model(ROWS, metadata) == (10 + 5 + 5, 40 + 5 + 15)
    said = dict(speed_facts(ROWS, metadata))
    assert said["layers, predicted"] == "3.00x (15.0 ms with kernels, 45.0 dense)"
    assert said["model, predicted"] == "3.00x (20.0 ms with kernels, 60.0 dense)"


def test_without_a_rest_the_layers_are_all_that_is_said() -> None:
    assert predicted_model(ROWS, ArtifactMetadata()) is None
    said = dict(speed_facts(ROWS, ArtifactMetadata()))
    assert said["layers, predicted"].startswith("3.00x")
    assert said["model, predicted"].startswith("not known")


def test_without_regions_nothing_is_said() -> None:
    dense = [row(None, (9.0, 5.0))]
    assert predicted_model(dense, ArtifactMetadata(rest=(5.0, 15.0))) is None
    assert speed_facts(dense, ArtifactMetadata(rest=(5.0, 15.0))) == []


def test_layers_that_take_no_time_are_not_believed() -> None:
    metadata = ArtifactMetadata(rest=(0.0, 0.0))
    assert predicted_model([row("Region0", (0.0, 40.0))], metadata) is None
    assert speed_facts([row("Region0", (0.0, 40.0))], metadata) == []


@pytest.mark.usefixtures("in_this_process")
def test_an_exported_model_that_pools_is_predicted_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 32)
    save_model(pooling_detector(), tmp_path / "net.onnx")
    made = export_onnx(tmp_path / "net.onnx", target=Target(values="fp32"))
    report = inspect_artifact(made.artifact)
    assert report.metadata is not None
    rest = report.metadata.rest
    assert rest is not None
    assert 0 < rest[0] < rest[1]
    plain = json.loads(json.dumps(report.to_json()))["predicted_ms"]
    assert plain["model"] == pytest.approx([a + b for a, b in zip(plain["layers"], rest, strict=True)])
    assert {"layers, predicted", "model, predicted"} <= dict(facts(report)).keys()
    control = read_metadata(load_model(made.dense))
    assert control is not None
    assert control.rest is None


def test_inspect_says_what_was_predicted_from_and_how_sure_it_is() -> None:
    metadata = ArtifactMetadata(rest=(5.0, 15.0), costs="measured on Some CPU", prediction_error=0.2)
    said = dict(speed_facts(ROWS, metadata))
    assert said["predicted from"] == "measured on Some CPU"
    assert said["how sure"] == "on most models between 2.50x and 3.60x"
    unknown = dict(speed_facts(ROWS, ArtifactMetadata(rest=(5.0, 15.0))))
    assert "predicted from" not in unknown
    assert unknown["how sure"].startswith("not known")
