"""Models that hang or take all memory end in one error, and the program goes on."""

import logging
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy import storage
from lth_deploy.compiler.model.random_inputs import likely_sizes
from lth_deploy.config.bundled import target_file
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError, ParityError, RecipeError, UsageError
from lth_deploy.workflow.gates import raw_outputs, regions
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.limits import limited_process
from lth_deploy.workflow.limits.limited_process import Limits, limits, run_limited
from lth_deploy.workflow.limits.limited_runs import check_runs, hold_raw_outputs, hold_regions
from tests.compiler.onnx_models import detector
from tests.hostile.make_corpus import valid_region

LOOSE = Limits(60, 4 << 30)
INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
OUTPUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])


def model(nodes: list[object], **constants: np.ndarray) -> ModelProto:
    constants["w"] = np.ones((4, 3, 3, 3), np.float32)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), *nodes], "hostile", [INPUT], [OUTPUT], tensors
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def endless() -> ModelProto:
    """A Loop of 2^62 rounds behind a convolution."""
    boolean = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["v"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            boolean,
            helper.make_tensor_value_info("v", 1, None),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", 1, None)],
    )
    loop = helper.make_node("Loop", ["many", "yes", "c"], ["y"], body=body)
    return model([loop], many=np.array(1 << 62), yes=np.array(True))


def enormous() -> ModelProto:
    """The output of a convolution, repeated to 2.4 GB."""
    return model([helper.make_node("Tile", ["c", "often"], ["y"])], often=np.array([1 << 11, 1 << 11, 1, 1]))


def saved(made: ModelProto, folder: Path) -> Path:
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    return folder / "net.onnx"


def feeds() -> list[tuple[str, dict[str, np.ndarray]]]:
    return [("noise", {"x": np.ones((1, 3, 8, 8), np.float32)})]


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limited_process.SECONDS, "3")
    monkeypatch.setenv(limited_process.MEMORY, "2")


@pytest.mark.usefixtures("tight")
def test_an_endless_loop_is_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ArtifactError, match=r"running net.onnx on noise took longer than 6 s and was stopped"):
        check_runs(saved(endless(), tmp_path), feeds())
    assert time.monotonic() - start < 20


@pytest.mark.usefixtures("tight")
def test_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"running net.onnx on noise needs more than 2.0 GiB of memory"):
        check_runs(saved(enormous(), tmp_path), feeds())
    check_runs(saved(model([helper.make_node("Relu", ["c"], ["y"])]), tmp_path), feeds())


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("made", [endless(), enormous()], ids=["endless", "enormous"])
def test_inspect_does_not_run_a_model_unless_asked(made: ModelProto, tmp_path: Path) -> None:
    report = inspect_artifact(saved(made, tmp_path))
    assert report.macs is not None
    assert report.macs.elements == 6 * 6 * 4 * 3 * 3 * 3
    asked = inspect_artifact(saved(made, tmp_path), run=True)
    assert asked.macs is None
    assert "MACs are not known: running net.onnx on noise" in " ".join(asked.notes)


def test_shape_inference_that_takes_all_memory_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limited_process.MEMORY, "1")
    monkeypatch.setenv(limited_process.SECONDS, "30")
    nodes = [helper.make_node("Shape", ["c"], ["s0"])]
    nodes += [helper.make_node("Concat", [f"s{i}", f"s{i}"], [f"s{i + 1}"], axis=0) for i in range(30)]
    nodes += [helper.make_node("ConstantOfShape", ["s30"], ["y"])]
    report = inspect_artifact(saved(model(nodes), tmp_path))
    assert report.macs is None
    assert any(note.startswith("MACs are not known: shape inference of the model") for note in report.notes)


def test_what_a_task_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no target is called 'nonsense'"):
        run_limited(target_file, {"name": "nonsense"}, LOOSE, "finding")
    with pytest.raises(ArtifactError, match=r"reading failed: AttributeError: 'str' object has no attribute"):
        run_limited(storage.read_json, {"path": "a"}, LOOSE, "reading")
    with pytest.raises(ParityError, match="does not compute what its weights say"):
        hold_raw_outputs(detector_file(tmp_path, 0), detector_file(tmp_path, 1), ones(), 1e-4)


def detector_file(folder: Path, seed: int) -> Path:
    path = folder / f"{seed}.onnx"
    path.write_bytes(detector(seed=seed).SerializeToString())
    return path


def ones() -> list[tuple[str, dict[str, np.ndarray]]]:
    return [(f"ones {i}", {"image": np.full((1, 3, 24, 24), i, np.float32)}) for i in (1, 2)]


def test_gates_say_what_they_say_without_limits(tmp_path: Path) -> None:
    first, second = detector_file(tmp_path, 0), tmp_path / "second.onnx"
    almost = detector(seed=0)
    almost.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(
            numpy_helper.to_array(almost.graph.initializer[0]) * np.float32(1.00001), almost.graph.initializer[0].name
        )
    )
    second.write_bytes(almost.SerializeToString())
    assert hold_raw_outputs(first, first, ones(), 1e-4) == 0.0
    deviation = hold_raw_outputs(first, second, ones(), 1e-2)
    assert deviation == raw_outputs.hold_raw_outputs(first, second, ones(), 1e-2) > 0
    region = tmp_path / "region.onnx"
    region.write_bytes(valid_region().SerializeToString())
    rng = np.random.default_rng(0)
    noise = [("noise", {"x": rng.standard_normal((1, 64, 9, 11)).astype(np.float32)})]
    assert hold_regions(region, noise, GatesSpec()) == regions.hold_regions(region, noise, GatesSpec())


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (os.abort, r"it needs more than 4.0 GiB of memory; LTH_RUN_MEMORY sets .* \(SIGABRT\)"),
        (signal.pause, "it took longer than 2 s and was stopped; LTH_RUN_SECONDS sets"),
    ],
)
def test_a_child_that_ends_is_replaced(task: limited_process.Task, words: str) -> None:
    before = run_limited(os.getpid, {}, LOOSE, "it")
    assert run_limited(os.getpid, {}, LOOSE, "it") == before != os.getpid()
    with pytest.raises(ArtifactError, match=words):
        run_limited(task, {}, Limits(2, 4 << 30), "it")
    assert run_limited(os.getpid, {}, LOOSE, "it") != before


def test_a_child_that_died_idle_is_replaced_and_other_limits_start_another() -> None:
    before = run_limited(os.getpid, {}, LOOSE, "it")
    os.kill(before, signal.SIGKILL)
    time.sleep(0.2)
    after = run_limited(os.getpid, {}, LOOSE, "it")
    assert after != before
    assert run_limited(os.getpid, {}, Limits(60, 5 << 30), "it") != after


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limited_process.SECONDS, "2.5")
    monkeypatch.setenv(limited_process.MEMORY, "1.5")
    assert limits(3) == Limits(10.0, 3 << 29)
    monkeypatch.setenv(limited_process.SECONDS, "1e300")
    assert limits().seconds == 1e6
    for wrong in ("", "no", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(limited_process.SECONDS, wrong)
        with pytest.raises(UsageError, match=r"LTH_RUN_SECONDS=.* is no positive number"):
            limits()


def test_large_inputs_are_refused_before_they_are_made(tmp_path: Path) -> None:
    made = model([helper.make_node("Relu", ["c"], ["y"])])
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40000, 40000]))
    with pytest.raises(
        UsageError, match="input 'x' has the size 1 x 3 x 40000 x 40000; inputs of more than 1073741824"
    ):
        likely_sizes(made)
    assert any("40000 x 40000" in note for note in inspect_artifact(saved(made, tmp_path)).notes)


def test_what_a_child_logs_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.environ["LTH_OPS_LIBRARY"] = str(tmp_path / "absent.so")
    try:
        region = tmp_path / "region.onnx"
        region.write_bytes(valid_region().SerializeToString())
        noise = [("noise", {"x": np.ones((1, 64, 9, 11), np.float32)})]
        limited_process.end_child()
        with caplog.at_level(logging.WARNING, logger="lth_deploy"):
            assert hold_regions(region, noise, GatesSpec()) is None
    finally:
        del os.environ["LTH_OPS_LIBRARY"]
        limited_process.end_child()
    assert "were not checked with kernels" in caplog.text
