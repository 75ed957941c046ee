"""Random small graphs through `export --onnx`: what comes out computes the same, or there is one error of ours."""

import logging
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.numpy_helper import from_array

from lth_deploy.errors import ParityError
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from tests.random_graphs import exported, random_graph
from tests.random_graphs.exported import differences

SEED, COUNT = 0, int(os.environ.get("LTH_TEST_GRAPHS", "120"))
"""Seeds SEED to SEED + COUNT - 1; every second graph is pruned to SPARSITY. LTH_TEST_GRAPHS=3000 takes half an hour."""

SPARSITY = 0.7

FOUND = (13, 45, 204, 236, 326, 486, 562, 647, 817, 906, 1348)
"""Seeds of graphs that were refused or wrong once: half precision in Constant nodes, transposed convolutions in
regions, a shape of a region's output, a sparse initializer that is returned, a layer that stays in half precision."""

BATCH = 20


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="lth_deploy")  # which is undone after each test


def wrong(seeds: range, folder: Path) -> dict[int, list[str]]:
    found = {}
    for seed in seeds:
        texts = differences(random_graph(seed), folder / str(seed), sparsity=SPARSITY if seed % 2 else None)
        if texts:
            found[seed] = texts
    return found


@pytest.mark.parametrize("first", range(SEED, SEED + COUNT, BATCH))
def test_random_graphs_export_and_compute_the_same(first: int, tmp_path: Path) -> None:
    assert not wrong(range(first, min(first + BATCH, SEED + COUNT)), tmp_path)


@pytest.mark.parametrize("seed", FOUND)
def test_graphs_that_were_wrong_once(seed: int, tmp_path: Path) -> None:
    assert not wrong(range(seed, seed + 1), tmp_path)


def resized_like_a_region() -> ModelProto:
    """A Resize takes its size from the shape of a region's output, which nobody knows before it runs."""
    w = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1] * 4),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Sinh", ["c"], ["z"]),
        helper.make_node("Shape", ["x"], ["all"]),
        helper.make_node("Slice", ["all", "zero", "two"], ["first"]),
        helper.make_node("Shape", ["c"], ["others"]),
        helper.make_node("Slice", ["others", "two", "four"], ["sides"]),
        helper.make_node("Concat", ["first", "sides"], ["size"], axis=0),
        helper.make_node("Resize", ["x", "", "", "size"], ["y"]),
    ]
    numbers = [from_array(np.array([value]), name) for name, value in (("zero", 0), ("two", 2), ("four", 4))]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 64, None, None])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")]
    graph = helper.make_graph(nodes, "resized", [images], made, [from_array(w, "w"), *numbers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.usefixtures("in_this_process")
def test_a_file_that_loads_only_without_the_kernels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lth_deploy.compiler.regions.codegen.build._output_shapes", lambda *_: [])
    onnx.save(resized_like_a_region(), tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"the whole model .*cannot load"):
        export_onnx(tmp_path / "model.onnx", OnnxJob(sparsity=SPARSITY))
    assert not (tmp_path / "model-export").exists()


def test_a_seed_gives_one_graph_and_seeds_differ() -> None:
    first, same, other = (random_graph(seed).model for seed in (3, 3, 4))
    assert first == same != other


def test_the_comparison_sees_a_difference() -> None:
    graph = random_graph(2)
    wanted = graph.run()
    moved = {name: value + np.asarray(1, value.dtype) for name, value in wanted.items()}
    assert exported.compared(wanted, wanted, graph, rounded=False) == []
    assert exported.compared(wanted, moved, graph, rounded=False)
