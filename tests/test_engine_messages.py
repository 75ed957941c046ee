"""What engines say becomes one sentence of ours; their own text is a detail, and nothing is printed."""

import logging

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError, detail_of
from tests.compiler.onnx_models import conv

WEIGHTS = np.ones((4, 3, 1, 1), np.float32)


def _of(node: object, kind: int = TensorProto.FLOAT, opset: int = 18, ir_version: int = 8) -> ModelProto:
    values = [helper.make_tensor_value_info(name, kind, None) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(WEIGHTS.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")]
    tensors.append(numpy_helper.from_array(np.array([7, 3]), "to"))
    graph = helper.make_graph([node], "one", values[:1], values[1:], tensors)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("nobody.knows", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=ir_version)


LOADED = [
    (
        _of(helper.make_node("Mystery", ["x"], ["y"], domain="nobody.knows")),
        "no operator Mystery of the domain 'nob",
    ),
    (_of(helper.make_node("Conv", ["x", "w"], ["y"], "c"), TensorProto.DOUBLE), "no Conv for the types of node 'c'"),
    (_of(helper.make_node("Conv", ["x"], ["y"], "c")), r"node 'c' \(Conv\) cannot have 1 inputs"),
    (_of(helper.make_node("Relu", ["x", "x"], ["y"])), "a node Relu cannot have 2 inputs"),
    (_of(helper.make_node("Add", ["x", "to"], ["y"])), "Add of float with int64"),
    (_of(helper.make_node("Mystery", ["x"], ["y"])), "no operator Mystery in opset 18"),
    (_of(helper.make_node("Conv", ["x", "w"], ["y"]), TensorProto.BFLOAT16), "no Conv for bfloat16"),
    (_of(helper.make_node("Conv", ["absent", "w"], ["y"])), "nothing in the graph makes 'absent'"),
    (conv(WEIGHTS, ir_version=99), r"reads IR versions up to \d+, this is 99"),
    (conv(WEIGHTS, opset=99), r"knows opsets up to \d+, this is 99"),
    (ModelProto(), "the file is no ONNX model"),
]


@pytest.mark.parametrize(("model", "words"), LOADED, ids=[words[:24] for _, words in LOADED])
def test_a_model_that_does_not_load(model: ModelProto, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArtifactError, match=f"^the model does not run in ONNX Runtime: .*{words}") as failed:
        session(model)
    assert "ONNXRuntimeError" not in str(failed.value)
    assert str(failed.value.detail).startswith("[ONNXRuntimeError]")
    assert capfd.readouterr().err == ""


def test_a_node_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    running = session(_of(helper.make_node("Reshape", ["x", "to"], ["y"], "re")))
    with pytest.raises(ArtifactError, match=r": node 're' \(Reshape\) fails$") as failed:
        run(running, ["y"], {"x": np.zeros(5, np.float32)})
    assert "cannot be reshaped" in str(failed.value.detail)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "inputs are missing: 'x'"),
        ({"x": np.zeros((1, 4, 8, 8), np.float32)}, "input 'x' has another shape"),
        ({"x": np.zeros((3, 8, 8), np.float32)}, "input 'x' has another shape"),
        ({"x": np.zeros((1, 3, 8, 8), np.uint8)}, "an input has another type"),
        ({"x": np.zeros((1, 3, 8, 8), np.float32), "z": np.zeros(1)}, "it has no input 'z'"),
    ],
)
def test_inputs_that_do_not_fit(feeds: dict[str, np.ndarray], words: str) -> None:
    running = session(conv(WEIGHTS))
    with pytest.raises(ArtifactError, match=f": {words}$"):
        run(running, ["y"], feeds)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[ONNXRuntimeError] : 6 : X : initialization: lth_deploy, node 'R': line 6: bad", "node 'R': line 6: bad"),
        ("[ONNXRuntimeError] : 1 : FAIL : lth_deploy: needs version 2", "needs version 2"),
        ("running Tile node. Name:'' Status Message: a.cc:1 Failed to allocate memory", "needs more memory"),
        ("something new", "the engine refuses it"),
        ("", "the engine refuses it"),
    ],
)
def test_our_own_messages_stay_and_unknown_ones_are_a_detail(text: str, reason: str) -> None:
    failure = failure_of(RuntimeError(text))
    assert str(failure) == reason
    assert failure.text == (text or "RuntimeError")


def test_the_detail_of_a_cause_is_the_detail() -> None:
    inner, outer = ArtifactError("a", detail="all of it"), ArtifactError("b")
    outer.__cause__ = inner
    assert detail_of(outer) == "all of it"
    assert detail_of(ArtifactError("c")) is None


def test_onnx_runtime_prints_warnings_only_where_debug_messages_are_wanted(caplog: pytest.LogCaptureFixture) -> None:
    found = {}
    for level in (logging.DEBUG, logging.INFO):
        with caplog.at_level(level, logger="lth_deploy"):
            found[level] = log_severity()
    assert found == {logging.DEBUG: 2, logging.INFO: 4}
