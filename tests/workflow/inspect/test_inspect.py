"""`inspect` counts what is in the file."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, write_metadata
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.config.target import Target
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.inspect.report import InspectReport
from lth_deploy.workflow.inspect.text import facts, table
from tests.compiler.onnx_models import detector


@pytest.fixture(autouse=True)
def small_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 24)


def inspected(model: ModelProto, folder: Path) -> InspectReport:
    file = folder / "model.onnx"
    save_model(model, file)
    return inspect_artifact(file)


@pytest.mark.parametrize("format_", ["packed", "dense", "coo"])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_every_format_has_the_same_sparsity(format_: str, values: str, tmp_path: Path) -> None:
    model = detector(0.9)
    file, _ = emit(normalize(model), Target(format=format_, values=values))  # type: ignore[arg-type]
    report, dense = inspected(file, tmp_path), inspected(model, tmp_path)
    assert report.format == format_
    assert report.prunable == dense.prunable
    assert report.macs == dense.macs
    assert report.parameters.elements == dense.parameters.elements
    assert [row.zeros for row in report.layers] == [row.zeros for row in dense.layers]
    assert (report.bytes < dense.bytes) == (format_ != "dense" or values == "fp16")


def test_sizes_are_in_order(tmp_path: Path) -> None:
    report = inspected(emit(normalize(detector(0.9, width=64)), Target(values="fp32"))[0], tmp_path)
    assert report.entropy_bytes < report.bytes < report.coo_bytes < report.dense_bytes
    assert all(row.bytes <= 1.1 * row.entropy_bytes for row in report.layers if row.elements > 10_000)


def test_a_dense_file_says_how_many_of_its_bytes_are_zeros(tmp_path: Path) -> None:
    dense = inspected(detector(0.9), tmp_path)
    packed = inspected(emit(normalize(detector(0.9)), Target(values="fp32"))[0], tmp_path)
    assert dense.zero_bytes == 4 * dense.parameters.zeros > 0.8 * dense.bytes
    assert packed.zero_bytes < 0.05 * dense.zero_bytes


def test_every_layer_that_is_not_packed_has_a_reason(tmp_path: Path) -> None:
    for zeros in (0.0, 0.9):
        report = inspected(emit(normalize(detector(zeros)), Target())[0], tmp_path)
        assert all(bool(row.reason) == row.coding.startswith("dense") for row in report.layers)
    hint = inspected(detector(0.9), tmp_path).layers[2].reason
    assert hint is not None
    assert "would take" in hint


def test_macs_come_from_the_metadata_where_it_has_them(tmp_path: Path) -> None:
    model = detector(0.9)
    write_metadata(model, ArtifactMetadata(positions={"stem.weight": 7}))
    report = inspected(model, tmp_path)
    assert report.macs is not None
    assert report.macs.elements == 7 * report.layers[0].elements
    assert not report.notes


def test_norms_that_are_not_folded_are_named(tmp_path: Path) -> None:
    model = detector(0.5)
    for name in ("scale", "shift"):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(32, np.float32), name))
    node = helper.make_node("InstanceNormalization", ["b", "scale", "shift"], ["normed"])
    model.graph.node.insert(2, node)
    model.graph.node[3].input[0] = "normed"
    assert any("1 group norms" in note for note in inspected(model, tmp_path).notes)


def test_the_report_is_json_and_a_table(tmp_path: Path) -> None:
    report = inspected(emit(normalize(detector(0.9)), Target())[0], tmp_path)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["prunable"]["share"] == report.prunable.share
    rows = table(report)
    assert len(rows) == 1 + len(report.layers)
    assert all(len(row) == len(rows[0]) for row in rows)
    assert dict(facts(report))["format"].startswith("packed")


@pytest.mark.parametrize(("operator", "full"), [("Conv", 4 * 3 / (8 * 4)), ("ConvTranspose", 10 * 1 / (16 * 2))])
def test_quads_lie_along_the_inputs(operator: str, full: float, tmp_path: Path) -> None:
    weights = np.zeros((8, 16, 2, 2), np.int8)
    weights[:4, :10] = 1
    outputs = 8 if operator == "Conv" else 16
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=int(operator != "Conv")),
            helper.make_node(operator, ["x", "d"], ["y"], strides=[2, 2]),
        ],
        "layer",
        [helper.make_tensor_value_info("x", 1, [1, 24 - outputs, 8, 8])],
        [helper.make_tensor_value_info("y", 1, ["a", "b", "c", "d"])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(outputs, np.float32), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (row,) = inspected(model, tmp_path).layers
    assert row.empty_quads == 1.0 - full
