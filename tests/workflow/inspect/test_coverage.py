"""What `inspect` says of the share of a model that lies inside regions, of what cut them, and of what is left out."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.region_borders import region_cutters
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.inspect.coverage import coverage_facts, coverage_of
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.inspect.report import LayerRow
from lth_deploy.workflow.inspect.text import facts
from tests.compiler.regions.region_graphs import Graph


def row(name: str, region: str | None, dense: float | None, reason: str | None = None, positions: int = 1) -> LayerRow:
    times = None if dense is None else (dense / 4, dense)
    about = {"region": region, "predicted_ms": times, "dense_because": reason}
    return LayerRow(name, "Conv", (8, 8), 64, 0, 1, "dense", 4, 4.0, positions, None, **about)  # type: ignore[arg-type]


def cut_model() -> ModelProto:
    """Regions around a Softmax, a depthwise convolution and a Shape; a Transpose behind the last."""

    def region(number: int, source: list[str], made: str) -> None:
        nodes.append(helper.make_node(f"Region{number}", source, [made], domain=DOMAIN))

    nodes: list = []
    region(0, ["x"], "a")
    nodes.append(helper.make_node("Softmax", ["a"], ["b"]))
    nodes.append(helper.make_node("Conv", ["a", "w"], ["c"], group=8))
    nodes.append(helper.make_node("Relu", ["c"], ["d"]))
    nodes.append(helper.make_node("Shape", ["a"], ["s"]))
    region(1, ["b", "d", "s"], "e")
    region(2, ["e"], "f")
    nodes.append(helper.make_node("Softmax", ["f"], ["y"]))
    return helper.make_model(helper.make_graph(nodes, "cut", [], []))


def test_what_stands_between_regions_cuts_them() -> None:
    assert region_cutters(cut_model()) == (3, {"Softmax": 1, "grouped Conv": 1})


def test_the_share_is_of_the_dense_time() -> None:
    rows = [row("a", "Region0", 6.0), row("b", "Region1", 1.0), row("c", None, 1.5, "too thin"), row("d", None, None)]
    metadata = ArtifactMetadata(rest=(2.0, 1.5), rest_by_operator={"Softmax": 1.0})
    coverage = coverage_of(cut_model(), rows, metadata)
    assert coverage is not None
    assert coverage.share == pytest.approx(0.7)
    assert coverage.left_out == {"c": 1.5, "Softmax": 1.0, "others": 0.5}
    assert coverage_facts(coverage) == [
        ("inside of regions", "70.0% of dense time, predicted, in 3 regions"),
        ("cut apart by", "Softmax (1), grouped Conv (1)"),
        ("left out", "1.50 ms c: too thin"),
        ("left out", "1.00 ms Softmax"),
        ("left out", "0.50 ms others"),
    ]


def test_without_a_profile_it_is_of_the_layers_and_without_times_of_multiplications() -> None:
    rows = [row("a", "Region0", 6.0), row("b", None, 2.0)]
    (first, *_) = coverage_facts(coverage_of(cut_model(), rows, ArtifactMetadata()))
    assert first[1] == "75.0% of dense time, predicted, layers only, in 3 regions"
    counted = [row("a", "Region0", None, positions=3), row("b", None, None)]
    (first, *_) = coverage_facts(coverage_of(cut_model(), counted, None))
    assert first[1] == "75.0% of MACs, in 3 regions"
    assert coverage_of(cut_model(), [], None) is None


def test_without_regions_nothing_is_said() -> None:
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", [], []))
    assert coverage_of(model, [row("a", None, 6.0)], None) is None
    assert coverage_facts(None) == []


@pytest.mark.usefixtures("in_this_process")
def test_an_exported_model_names_what_it_leaves_out(tmp_path: Path) -> None:
    g = Graph()
    g.conv("x", "a", (8, 64), zeros=0.95)
    g.op("CumSum", ["a", g.constant("axis", np.int64(3))], "b")
    g.conv("b", "y", (64, 64), zeros=0.95)
    save_model(g.model({"x": (1, 8, 128, 128)}, ["y"]), tmp_path / "net.onnx")
    report = inspect_artifact(export_onnx(tmp_path / "net.onnx", target=Target(values="fp32")).artifact)
    coverage = report.coverage
    assert coverage is not None
    assert coverage.whole
    assert coverage.measure == "time"
    assert "CumSum" in coverage.left_out
    assert 0 < coverage.share < 1
    assert dict(facts(report))["inside of regions"].endswith(
        f"{coverage.regions} region" + "s" * (coverage.regions > 1)
    )
    assert report.to_json()["coverage"]["regions"] == coverage.regions
