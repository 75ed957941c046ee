"""Exceptions that no pass foresaw become one error that names the file and the node."""

import logging

import pytest
from onnx import NodeProto, helper

from lth_deploy.compiler.artifact import weight_layers
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.model.unexpected_faults import graph_errors
from lth_deploy.compiler.one_shot import dead_channels
from lth_deploy.errors import ArtifactError, UnexpectedGraphError
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from tests.compiler.onnx_models import detector


@pytest.mark.usefixtures("in_this_process")
def test_a_fault_in_a_pass_names_file_node_and_exception_and_writes_nothing(tmp_path, monkeypatch, caplog) -> None:
    save_model(detector(), tmp_path / "net.onnx")

    def follow(self: object, node: NodeProto) -> None:
        if node.op_type == "ConvTranspose":
            raise IndexError("list index out of range")

    monkeypatch.setattr(dead_channels._Channels, "_follow", follow)
    # Test modules are none of ours: the frame that counts is the pass that called this one.
    with caplog.at_level(logging.DEBUG, "lth_deploy"), pytest.raises(UnexpectedGraphError) as raised:
        export_onnx(tmp_path / "net.onnx", out=tmp_path / "out")
    text = str(raised.value)
    assert text.startswith("net.onnx, at node 'up' (ConvTranspose): ")
    assert "IndexError: list index out of range" in text
    assert "report it" in text
    assert "\n" not in text
    assert raised.value.exit_code == 3
    assert isinstance(raised.value.__cause__, IndexError)
    assert any(record.exc_info for record in caplog.records)
    assert not (tmp_path / "out").exists()


def test_inspect_has_the_same_edge(tmp_path, monkeypatch) -> None:
    save_model(detector(), tmp_path / "net.onnx")

    def fails(*_: object) -> str:
        raise KeyError("w")

    monkeypatch.setattr(weight_layers, "_obstacle", fails)
    with pytest.raises(UnexpectedGraphError, match=r"net\.onnx, at node 'stem' .*KeyError: 'w'"):
        inspect_artifact(tmp_path / "net.onnx")


def test_errors_of_ours_and_of_the_system_pass() -> None:
    for error in (ArtifactError("no"), OSError("disk"), MemoryError()):
        with pytest.raises(type(error)) as raised, graph_errors("x"):
            raise error
        assert raised.value is error


def test_a_node_without_a_name_is_named_by_what_it_makes_and_text_is_one_line() -> None:
    def pass_over(node: NodeProto) -> None:
        raise ValueError("first\nsecond " + "x" * 1000)

    pass_over.__globals__["__name__"], name = "lth_deploy.of_a_test", __name__
    try:
        with pytest.raises(UnexpectedGraphError) as raised, graph_errors("x.onnx"):
            pass_over(helper.make_node("Relu", ["a"], ["b"]))
    finally:
        pass_over.__globals__["__name__"] = name
    text = str(raised.value)
    assert "the node that makes 'b' (Relu)" in text
    assert "first second xx" in text
    assert len(text) < 500
