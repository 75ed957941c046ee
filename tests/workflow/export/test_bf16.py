"""`values: bf16`: what such a file holds and computes, its gates, and where it is refused."""

import logging
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.compiler.model.save import save_model
from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.errors import GateError, UsageError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.gates.bf16_ap import check_bf16, hold_bf16_ap
from lth_deploy.workflow.inspect.inspect import inspect_artifact

BF16 = Target(values="bf16")
X = np.random.default_rng(1).standard_normal((1, 3, 40, 40)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_child_processes(in_this_process: None) -> None:
    pass


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A stem, full layers, a depthwise and a transposed one: the kernels multiply all but these two in bf16."""
    rng = np.random.default_rng(0)
    shapes = {
        "w1": (32, 3, 3, 3),
        "w2": (64, 32, 3, 3),
        "w3": (64, 1, 3, 3),
        "w4": (64, 64, 1, 1),
        "w5": (64, 32, 2, 2),
    }
    tensors = {
        name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["e"], pads=[1] * 4, group=64),
        helper.make_node("Conv", ["e", "w4"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("ConvTranspose", ["g", "w5"], ["y"], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "bf16",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 80, 80])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "net.onnx"
    )
    return tmp_path / "net.onnx"


def computed(engine: str, path: Path) -> np.ndarray:
    (found,) = RUNTIMES.get(engine).load(path, threads=1).run({"x": X}).values()
    return np.asarray(found)


def of(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("zeros", [0.0, 0.8])
def test_a_file_of_bf16(model_file: Path, zeros: float) -> None:
    made = export_onnx(model_file, OnnxJob(sparsity=zeros), target=BF16)
    model = load_model(made.artifact)
    metadata = read_metadata(model)
    assert metadata is not None
    assert metadata.values == "bf16"
    (node,) = (node for node in model.graph.node if is_region(node))
    program = program_of(node)
    types = {weight.dims: weight.value_type for weight in program.weights}
    assert types[64, 32, 3, 3] == types[64, 64, 1, 1] == "bf16"
    assert "bf16" not in (types[64, 1, 3, 3], types.get((64, 32, 2, 2)))
    assert program.version == 6
    rows = {row.name: row.coding for row in inspect_artifact(made.artifact).layers}
    assert rows["w2"].endswith("bf16")
    dense = computed("onnxruntime", made.dense)
    if not zeros:  # a stock runtime rounds the weights alone, the kernels what they are multiplied by too
        assert 0 < of(computed("onnxruntime", made.artifact), dense) < 1e-2
    kernels = of(computed("lth_deploy", made.artifact), computed("onnxruntime", made.artifact))
    assert 1e-5 < kernels < 1e-2
    assert made.bytes < 0.56 * made.dense_bytes


def test_a_file_computes_the_same_without_instructions_for_bf16(model_file: Path) -> None:
    made = export_onnx(model_file, target=BF16)
    best = computed("lth_deploy", made.artifact)
    with mock.patch.dict(os.environ, LTH_ISA="portable"):
        assert of(computed("lth_deploy", made.artifact), best) < 1e-2


def test_a_file_of_bf16_can_be_exported_again(model_file: Path) -> None:
    made = export_onnx(model_file, target=BF16)
    again = export_onnx(made.artifact, OnnxJob(sparsity=0.5), target=Target(values="fp32"))
    assert inspect_artifact(again.artifact).prunable.share == pytest.approx(0.5, abs=1e-2)
    assert not any(one.data_type == TensorProto.BFLOAT16 for one in onnx.load(str(again.artifact)).graph.initializer)


def test_rounding_beyond_the_bound_is_refused_where_no_ap_is_known(model_file: Path) -> None:
    target = Target(values="bf16", gates=GatesSpec(bf16_difference=1e-6, output_difference=1e-6))
    with pytest.raises(GateError, match="Its instructions are right, so this model enlarges rounding: give --data"):
        export_onnx(model_file, target=target)
    assert not (model_file.parent / "net-export").exists()


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"format": "dense"}, "gains only in regions"),
        ({"regions": "none"}, "gains only in regions"),
        (
            {"costs": CostTable(isa="best", instructions=["avx2", "fma"])},
            r"which has no rates of bf16; export with --values fp16, or run lth-deploy measure-costs",
        ),
    ],
)
def test_what_cannot_gain_is_refused_before_any_work(model_file: Path, update: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        export_onnx(model_file, target=BF16.model_copy(update=update))
    assert not (model_file.parent / "net-export").exists()


@pytest.mark.parametrize("table", [CostTable(), CostTable(isa="best", instructions=["avx2", "avx512_bf16"])])
def test_a_table_that_says_nothing_of_bf16_is_a_warning(table: CostTable, caplog: pytest.LogCaptureFixture) -> None:
    check_bf16(BF16.model_copy(update={"costs": table}))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "has no rates of bf16; products of bf16 are taken to be as fast as those of fp32" in line


def test_a_model_that_does_not_gain_is_refused(model_file: Path) -> None:
    costs = default_costs()
    slow = {name: 1000 * rate for name, rate in costs.kernels.items() if name.startswith("bf16 ")}
    table = costs.model_copy(update={"kernels": costs.kernels | slow})
    with pytest.raises(GateError, match=r"no layer of this model is faster with it \(predicted: .*--values fp16"):
        export_onnx(model_file, target=Target(values="bf16", costs=table))
    assert not (model_file.parent / "net-export").exists()


@pytest.mark.parametrize("faster", [1.0, 100.0])
def test_a_file_that_float32_would_be_faster_for_is_a_warning(
    model_file: Path, faster: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Regions gain over dense either way, so that the file is written."""
    costs = default_costs()
    floats = {name: rate / faster for name, rate in costs.kernels.items() if name.startswith(("conv.", "pointwise."))}
    table = costs.model_copy(update={"kernels": costs.kernels | floats})
    caplog.set_level(logging.INFO)
    assert export_onnx(model_file, target=Target(values="bf16", costs=table)).artifact.is_file()
    (line,) = [record for record in caplog.records if "ms in bf16" in record.getMessage()]
    bf16, fp32 = (float(ms) for ms in re.findall(r"([\d.]+) ms", line.getMessage()))
    assert line.levelname == ("INFO" if bf16 < fp32 else "WARNING")
    assert (bf16 < fp32) == (faster == 1.0)
    assert ("values: bf16 gains nothing here" in line.getMessage()) == (faster > 1.0)


def test_the_gate_of_ap_says_what_bf16_costs() -> None:
    exact, little, lost, unknown = (Scores({"bbox": {"AP": ap}}) for ap in (0.424, 0.421, 0.418, None))
    hold_bf16_ap(exact, little, 0.005)
    hold_bf16_ap(unknown, little, 0.005)
    says = r"bf16 costs 0.60 bbox AP \(42.40 to 41.80\), allowed are 0.50 \(gates.bf16_ap_drop\); export with .*fp16"
    with pytest.raises(GateError, match=says):
        hold_bf16_ap(exact, lost, 0.005)
