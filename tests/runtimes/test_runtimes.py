"""Both engines give a small graph's outputs, describe themselves, and refuse broken files in words."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lth_deploy.errors import ArtifactError, InputMismatchError, UsageError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.runtimes.openvino import OpenVino

ENGINES = [
    "onnxruntime",
    "lth_deploy",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="the openvino extra is not installed"
        ),
    ),
]


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    """y = 2x + 1 and its sum, any length."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["d"]),
            helper.make_node("Add", ["d", "one"], ["y"]),
            helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0),
        ],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor(n, TensorProto.FLOAT, [1], [v]) for n, v in (("two", 2.0), ("one", 1.0))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "affine.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_runs_any_length_and_returns_all_outputs_by_name(engine: str, affine: Path) -> None:
    session = RUNTIMES.get(engine).load(affine, threads=1)
    for length in (3, 7):
        outputs = session.run({"x": np.arange(length, dtype=np.float32)})
        assert set(outputs) == {"y", "total"}
        assert outputs["y"].tolist() == [2.0 * value + 1 for value in range(length)]
        assert outputs["total"] == length * length


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_takes_fixed_sizes_and_a_precision(precision: str, affine: Path) -> None:
    pytest.importorskip("openvino", reason="the openvino extra is not installed")
    session = OpenVino().load(affine, threads=1, precision=precision, shapes={"x": [3]})
    assert session.run({"x": np.arange(3, dtype=np.float32)})["y"].tolist() == [1, 3, 5]
    with pytest.raises(ArtifactError, match="fails in OpenVINO"):
        session.run({"x": np.zeros(4, np.float32)})


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_of_one_run_survive_the_next(engine: str, affine: Path) -> None:
    session = RUNTIMES.get(engine).load(affine, threads=1)
    first = session.run({"x": np.zeros(4, np.float32)})["y"]
    session.run({"x": np.full(4, 9, np.float32)})
    assert first.tolist() == [1, 1, 1, 1]


GIVEN_BACK = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from lth_deploy.runtimes import RUNTIMES

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    session = RUNTIMES.get(sys.argv[1]).load(Path(sys.argv[2]), threads=1)
    large = np.ones(30_000_000, np.float32)
    before = resident()
    for _ in range(2):
        assert session.run({"x": large}, give_back=True)["total"] == 3 * len(large)
    print((resident() - before) / large.nbytes)
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "lth_deploy"])
def test_memory_of_a_large_input_is_given_back(engine: str, affine: Path) -> None:
    # A process of its own: what other tests have left behind moves the memory of this one.
    command = [sys.executable, "-c", textwrap.dedent(GIVEN_BACK), engine, str(affine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    # One of the two buffers stays: the runtime keeps the first that it takes.
    assert float(done.stdout) < 1.5


@pytest.mark.parametrize("engine", ENGINES)
def test_describes_itself(engine: str, affine: Path) -> None:
    facts = RUNTIMES.get(engine).load(affine, threads=2).describe()
    assert facts["name"] == engine
    assert facts["threads"] == "2"
    assert facts["version"][0].isdigit()


@pytest.mark.parametrize("engine", ENGINES)
def test_refuses_missing_and_broken_files_and_wrong_inputs(engine: str, affine: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    runtime = RUNTIMES.get(engine)
    with pytest.raises(ArtifactError, match="no such model"):
        runtime.load(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match=r"broken\.onnx"):
        runtime.load(broken)
    with pytest.raises(ArtifactError, match=r"affine\.onnx"):
        runtime.load(affine, threads=1).run({"unknown": np.zeros(3, np.float32)})


def test_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="onnxruntime"):
        RUNTIMES.get("onnxruntim")


def test_inputs_that_do_not_fit_and_a_node_that_fails_are_two_faults(tmp_path: Path) -> None:
    """Only the first may be the decoder's; of the second the node is named."""
    values = [helper.make_tensor_value_info(name, 1, ["a", "b"]) for name in ("x", "y")]
    product = helper.make_node("MatMul", ["x", "y"], ["z"], "product")
    graph = helper.make_graph([product], "g", values, [helper.make_tensor_value_info("z", 1, None)])
    path = tmp_path / "product.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    )
    session = RUNTIMES.get("onnxruntime").load(path, threads=1)
    two, three = np.zeros((2, 2), np.float32), np.zeros((3, 3), np.float32)
    for feeds in ({"x": two}, {"x": two, "y": two[0]}, {"x": two, "y": two.astype(np.int64)}):
        with pytest.raises(InputMismatchError, match="does not take the inputs"):
            session.run(feeds)
    with pytest.raises(ArtifactError, match=r"node 'product' \(MatMul\) fails") as failed:
        session.run({"x": two, "y": three})
    assert not isinstance(failed.value, InputMismatchError)
    assert "Name:'product' Status Message: " in str(failed.value.detail)


def test_openvino_calls_outputs_as_the_file_does_where_a_fixed_size_folds_nodes(tmp_path: Path) -> None:
    """A product with a size is none once the size is fixed to 1, and its output merges with what it reads."""
    pytest.importorskip("openvino", reason="the openvino extra is not installed")
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["/inner"]),
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("Cast", ["rows"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["/inner", "factor"], ["boxes"]),
            helper.make_node("Neg", ["/inner"], ["scores"]),
        ],
        "folding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("boxes", "scores")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "m.onnx")
    x = np.array([[-1, 2, -3, 4]], np.float32)
    found = OpenVino().load(tmp_path / "m.onnx", threads=1, shapes={"x": [1, 4]}).run({"x": x})
    assert list(found) == ["boxes", "scores"]
    np.testing.assert_array_equal(found["boxes"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["scores"], -np.maximum(x, 0))
