"""Models that hang or take all memory end in one error, and the program goes on."""

import logging
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy import storage
from lth_deploy.compiler.model.random_inputs import likely_sizes
from lth_deploy.config.bundled import target_file
from lth_deploy.errors import ArtifactError, MissingExtraError, RecipeError, UsageError
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from lth_deploy.workflow.limits import limited_process, settings
from lth_deploy.workflow.limits.limited_process import run_limited
from lth_deploy.workflow.limits.settings import Limits, limits
from tests.hostile import limited_tasks as tasks
from tests.waiting import has_ended, wait_until

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


@pytest.fixture(autouse=True)
def child_finds_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SECONDS, "2")
    monkeypatch.setenv(settings.MEMORY, "2")


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (endless(), "exporting net.onnx was stopped: one run of the model took longer than 2 s; LTH_RUN_SECONDS sets"),
        (enormous(), "exporting net.onnx needs more than 2.0 GiB of memory; LTH_RUN_MEMORY sets"),
    ],
    ids=["endless", "enormous"],
)
def test_export_stops_a_model_that_takes_too_much_and_leaves_nothing(
    made: ModelProto, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporaries").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporaries"))
    with pytest.raises(ArtifactError, match=words):
        export_onnx(saved(made, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "temporaries"]
    assert not list((tmp_path / "temporaries").iterdir())
    export_onnx(saved(model([helper.make_node("Relu", ["c"], ["y"])]), tmp_path))


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
    monkeypatch.setenv(settings.MEMORY, "1")
    monkeypatch.setenv(settings.SECONDS, "30")
    nodes = [helper.make_node("Shape", ["c"], ["s0"])]
    nodes += [helper.make_node("Concat", [f"s{i}", f"s{i}"], [f"s{i + 1}"], axis=0) for i in range(30)]
    nodes += [helper.make_node("ConstantOfShape", ["s30"], ["y"])]
    report = inspect_artifact(saved(model(nodes), tmp_path))
    assert report.macs is None
    assert any(note.startswith("MACs are not known: shape inference of the model") for note in report.notes)


def test_what_a_task_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no target is called 'nonsense'"):
        run_limited(target_file, {"name": "nonsense"}, "finding")
    with pytest.raises(MissingExtraError, match=r"^drawing needs the package 'p'"):
        run_limited(tasks.missing_extra, {}, "drawing")
    with pytest.raises(ArtifactError, match=r"^the file was not written: it does not load$") as failed:
        run_limited(tasks.engine_fails, {}, "running")
    assert failed.value.detail == "INVALID_GRAPH: all of it"
    with pytest.raises(AttributeError, match=r"'str' object has no attribute .* in storage.py, line \d+"):
        run_limited(storage.read_json, {"path": "a"}, "reading")
    with pytest.raises(FileNotFoundError, match=f"No such file or directory: '{tmp_path / 'absent'}'"):
        run_limited(os.listdir, {"path": str(tmp_path / "absent")}, "listing")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (os.abort, r"it needs more than 4.0 GiB of memory; LTH_RUN_MEMORY sets .* \(SIGABRT\)"),
        (tasks.endless_run, "it was stopped: one run of the model took longer than 1 s; LTH_RUN_SECONDS sets"),
    ],
)
def test_a_child_that_ends_is_replaced(task: limited_process.Task, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SECONDS, "1")
    monkeypatch.setenv(settings.MEMORY, "4")
    before = run_limited(os.getpid, {}, "it")
    assert run_limited(os.getpid, {}, "it") == before != os.getpid()
    with pytest.raises(ArtifactError, match=words):
        run_limited(task, {}, "it")
    assert run_limited(os.getpid, {}, "it") != before


def test_only_runs_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SECONDS, "1")
    run_limited(tasks.quick_runs_of_much_work, {}, "it")


def test_a_child_that_died_idle_is_replaced_and_other_settings_start_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_limited(os.getpid, {}, "it")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: has_ended(before), "the end of the child")
    after = run_limited(os.getpid, {}, "it")
    assert after != before
    monkeypatch.setenv(settings.MEMORY, "5")
    assert run_limited(os.getpid, {}, "it") != after
    monkeypatch.setenv(settings.LIMITS, "off")
    assert run_limited(os.getpid, {}, "it") == os.getpid()


def test_a_child_works_in_the_folder_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_limited(os.getpid, {}, "it")
    monkeypatch.chdir(tmp_path)
    assert run_limited(os.getcwd, {}, "it") == str(tmp_path)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SECONDS, "2.5")
    monkeypatch.setenv(settings.MEMORY, "1.5")
    assert limits() == Limits(2.5, 3 << 29)
    monkeypatch.delenv(settings.MEMORY)
    found = limits()
    assert found is not None
    assert found.memory <= 0.75 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setenv(settings.SECONDS, "1e300")
    found = limits()
    assert found is not None
    assert found.seconds == 1e6
    for wrong in ("", "no", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(settings.SECONDS, wrong)
        with pytest.raises(UsageError, match=r"LTH_RUN_SECONDS=.* is no positive number"):
            limits()
    monkeypatch.setenv(settings.LIMITS, "no")
    with pytest.raises(UsageError, match="LTH_RUN_LIMITS=no is unknown; set it to on or off"):
        limits()


def test_large_inputs_are_refused_before_they_are_made(tmp_path: Path) -> None:
    made = model([helper.make_node("Relu", ["c"], ["y"])])
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40000, 40000]))
    with pytest.raises(
        UsageError, match="input 'x' has the size 1 x 3 x 40000 x 40000; inputs of more than 1073741824"
    ):
        likely_sizes(made)
    assert any("40000 x 40000" in note for note in inspect_artifact(saved(made, tmp_path)).notes)


def test_what_a_child_logs_is_logged_while_it_works(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="lth_deploy"):
        run_limited(tasks.talking, {}, "it")
    records = [(record.levelno, record.name, record.getMessage()) for record in caplog.records]
    assert (logging.WARNING, "lth_deploy.talking", "a warning") in records
    assert (logging.DEBUG, "lth_deploy.talking", "a detail") in records
    assert (logging.DEBUG, limited_process.__name__, "printed") in records
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="lth_deploy"):
        run_limited(tasks.talking, {}, "it")
    assert [record.getMessage() for record in caplog.records] == ["a warning"]
