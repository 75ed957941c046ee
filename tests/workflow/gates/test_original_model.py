"""`export --onnx` is held to the file as it was given, whatever import made of it."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.importing import opsets
from lth_deploy.compiler.importing.plain.folded_layer import FoldedLayer
from lth_deploy.compiler.importing.rewrite import Rewrite, changed
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError, ParityError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.structures import Block
from lth_deploy.workflow.export import pipeline
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from tests.hostile.make_corpus import valid_blocks

N = helper.make_node
RNG = np.random.default_rng(0)
TARGET = Target(values="fp32", profile=False)


def weight(*shape: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return (RNG.standard_normal(shape) * (RNG.random(shape) > 0.85)).astype(np.float32)


def save(path: Path, nodes: list[NodeProto], opset: int, inputs: tuple[str, ...] = (), **tensors: object) -> ModelProto:
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 12, 12])]
        + [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in constants if one.name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, "h", "w"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return model


def layers(first: str = "w", last: str = "y") -> list[NodeProto]:
    return [
        N("Conv", ["x", first], ["a"], pads=[1] * 4),
        N("Relu", ["a"], ["b"]),
        N("Conv", ["b", "v"], [last], pads=[1] * 4),
    ]


def outputs(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 8, 12, 12)).astype(np.float32)}
    found = RUNTIMES.get("onnxruntime").load(path, threads=1).run(feeds)["y"]
    return np.asarray(found, np.float32)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A model that ONNX's own converter changes: enlarged linearly in opset 10."""
    nodes = [*layers(last="c"), N("Resize", ["c", "s"], ["y"], mode="linear")]
    tensors = {"w": weight(32, 8, 3, 3), "v": weight(32, 32, 3, 3), "s": np.array([1, 1, 2, 2], np.float32)}
    save(tmp_path / "old.onnx", nodes, 10, **tensors)
    return tmp_path / "old.onnx"


@pytest.fixture
def wrong_adapter(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    """Import as it would be with ONNX's own converter."""

    def half_pixel(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
        return [changed(node, inputs=[node.input[0], "", node.input[1]])]

    monkeypatch.setitem(opsets.STEPS, ("Resize", 11), half_pixel)


def test_folded_norms_are_in_both_files_and_what_changes_too_much_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        *layers(last="c"),
        N("Mul", ["c", "k"], ["d"]),
        N("Relu", ["d"], ["e"]),
        N("Conv", ["e", "u"], ["f"], pads=[1] * 4),
        N("Add", ["f", "k"], ["y"]),
    ]
    scales = (0.5 + RNG.random((1, 32, 1, 1))).astype(np.float32)
    tensors = {"w": weight(32, 8, 3, 3), "v": weight(32, 32, 3, 3), "u": weight(32, 32, 3, 3), "k": scales}
    save(tmp_path / "a.onnx", nodes, 17, **tensors)
    made = export_onnx(tmp_path / "a.onnx", OnnxJob(sparsity=0.9), target=TARGET)
    assert made.deviation < 1e-4
    assert [node.op_type for node in onnx.load(made.dense).graph.node] == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    np.testing.assert_allclose(outputs(made.dense), outputs(tmp_path / "a.onnx"), atol=1e-4)

    folded = FoldedLayer.folded_weight
    monkeypatch.setattr(
        FoldedLayer, "folded_weight", lambda layer, values: folded(layer, values) * (1.5 if layer.weight == "v" else 1)
    )
    with caplog.at_level(logging.WARNING, logger="lth_deploy"):
        made = export_onnx(tmp_path / "a.onnx", OnnxJob(), target=TARGET, out=tmp_path / "other")
    assert "left out, because outputs would deviate by more than 0.0001: v" in caplog.text
    kept = [node.op_type for node in onnx.load(made.dense).graph.node]
    assert kept == ["Conv", "Relu", "Conv", "Mul", "Relu", "Conv"]


@pytest.mark.parametrize("sparsity", [None, 0.9])
def test_merged_branches_are_in_both_files_and_held_to_the_original(
    tmp_path: Path, sparsity: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        *layers(last="c"),
        N("Conv", ["b", "u"], ["d"]),
        N("Add", ["c", "d"], ["e"]),
        N("BatchNormalization", ["b", "k", "k", "k", "k"], ["f"]),
        N("Add", ["e", "f"], ["y"]),
    ]
    k = (0.5 + RNG.random(32)).astype(np.float32)
    tensors = {"w": weight(32, 8, 3, 3), "v": weight(32, 32, 3, 3), "u": weight(32, 32, 1, 1), "k": k}
    save(tmp_path / "a.onnx", nodes, 17, **tensors)
    with caplog.at_level(logging.INFO, logger="lth_deploy"):
        made = export_onnx(tmp_path / "a.onnx", OnnxJob(sparsity=sparsity), target=TARGET)
    assert "merged 1 convolutions with the branches beside them (RepConv)" in caplog.text
    assert made.deviation < 1e-4
    assert [node.op_type for node in onnx.load(made.dense).graph.node] == ["Conv", "Relu", "Conv"]
    np.testing.assert_allclose(outputs(made.dense), outputs(tmp_path / "a.onnx"), atol=1e-4)
    if sparsity is None:
        np.testing.assert_allclose(outputs(made.artifact), outputs(made.dense), atol=1e-4)


def test_an_old_model_computes_the_same(old: Path) -> None:
    made = export_onnx(old, OnnxJob(), target=TARGET)
    np.testing.assert_allclose(outputs(made.artifact), outputs(old), atol=1e-4)
    assert made.bytes < made.dense_bytes / 2


@pytest.mark.parametrize("sparsity", [None, 0.95])
def test_an_import_that_changes_the_model_is_noticed(old: Path, wrong_adapter: None, sparsity: float | None) -> None:
    with pytest.raises(ParityError, match=r"import changes what old.onnx computes \(opset 10 was converted"):
        export_onnx(old, OnnxJob(sparsity=sparsity), target=TARGET)
    assert not (old.parent / "old-export" / "model.onnx").exists()


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A weight behind a mask and one that was quantized and dequantized."""
    nodes = [
        N("Mul", ["w", "m"], ["f"]),
        N("QuantizeLinear", ["k", "s"], ["q"]),
        N("DequantizeLinear", ["q", "s"], ["v"]),
        *layers("f"),
    ]
    w, k = weight(32, 8, 3, 3), weight(32, 32, 3, 3)
    save(tmp_path / "masked.onnx", nodes, 17, w=w, m=(w > 0).astype(np.float32), k=k, s=np.float32(0.02))
    return tmp_path / "masked.onnx"


def test_pruned_weights_are_compared_in_the_original(masked: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made = export_onnx(masked, OnnxJob(sparsity=0.98), target=TARGET)
    assert "parameters that follow from constants were folded: DequantizeLinear (1), Mul (1)" in caplog.text
    assert made.sparsity >= 0.98  # with what goes with dead channels
    assert {layer.name for layer in made.layers if layer.reason is None} == {"f", "v"}
    # The float weights, and nothing of the mask or the quantization, are left.
    packed = onnx.load(made.artifact)
    assert not {"w", "m", "k", "s"} & {tensor.name for tensor in packed.graph.initializer}


@pytest.mark.usefixtures("in_this_process")
def test_a_fault_behind_import_is_noticed(masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pipeline.emit_chosen

    def with_another_weight(model: NormalizedModel, *rest: object) -> object:
        (weights,) = (numpy_helper.to_array(tensor) for tensor in model.proto.graph.initializer if tensor.name == "v")
        return chosen(model.with_tensors({"v": 2 * weights}), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "emit_chosen", with_another_weight)
    with pytest.raises(ParityError, match="does not compute what its weights say"):
        export_onnx(masked, OnnxJob(), target=TARGET)


def test_a_model_that_does_not_run_is_refused_before_anything_is_made_of_it(tmp_path: Path) -> None:
    nodes = [*layers(last="c"), N("Mystery", ["c"], ["y"], domain="nobody.knows")]
    model = save(tmp_path / "odd.onnx", nodes, 17, w=weight(32, 8, 3, 3), v=weight(32, 32, 3, 3))
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ArtifactError, match=r"does not run in ONNX Runtime: .*Mystery"):
        export_onnx(tmp_path / "odd.onnx", OnnxJob(), target=TARGET)


@pytest.mark.parametrize("keep", [False, True])
def test_inputs_with_a_default_value(tmp_path: Path, keep: bool) -> None:
    tensors = {"w": weight(32, 8, 3, 3), "v": weight(32, 32, 3, 3)}
    save(tmp_path / "inputs.onnx", layers(), 17, ("v",), **tensors)
    made = export_onnx(tmp_path / "inputs.onnx", OnnxJob(keep_inputs=keep), target=TARGET)
    packed = onnx.load(made.artifact)
    assert [value.name for value in packed.graph.input] == (["x", "v"] if keep else ["x"])
    reasons = {layer.name: layer.reason for layer in made.layers}
    assert reasons["w"] is None
    assert ("a caller may replace it" in str(reasons["v"])) == keep


def test_inspect_sees_what_export_makes_of_a_file(masked: Path) -> None:
    report = inspect_artifact(masked)
    assert [row.name for row in report.layers] == ["f", "v"]
    assert any(note.startswith("import: parameters that follow from constants were folded") for note in report.notes)


def test_inspect_says_why_export_refuses_a_file_and_still_lists_its_layers(tmp_path: Path) -> None:
    nodes = [*layers(last="c"), N("Dropout", ["c"], ["y", "mask"], "drop")]
    save(tmp_path / "drop.onnx", nodes, 9, w=weight(32, 8, 3, 3), v=weight(32, 32, 3, 3))
    report = inspect_artifact(tmp_path / "drop.onnx")
    assert [row.name for row in report.layers] == ["w", "v"]
    assert any("export refuses the model: Dropout of opset 9" in note for note in report.notes)
    with pytest.raises(ArtifactError, match="Dropout of opset 9"):
        export_onnx(tmp_path / "drop.onnx", OnnxJob(), target=TARGET)


def test_inspect_names_layers_without_a_weight(tmp_path: Path) -> None:
    nodes = [N("ReduceMean", ["x"], ["g"], keepdims=0), N("Mul", ["w", "g"], ["f"]), *layers("f")]
    save(tmp_path / "dynamic.onnx", nodes, 17, w=weight(32, 8, 3, 3), v=weight(32, 32, 3, 3))
    report = inspect_artifact(tmp_path / "dynamic.onnx")
    assert [row.name for row in report.layers] == ["v"]
    assert "1 Conv without a row: its weight follows from an input (a)" in report.notes


def test_a_packed_file_whose_functions_decode_otherwise_is_damaged(tmp_path: Path) -> None:
    model = valid_blocks(Block(2, 4), 0.5, int8=True)
    (places,) = (
        attribute.t
        for node in model.functions[0].node
        for attribute in node.attribute
        if attribute.t.name == "place" and list(attribute.t.dims) == [64]
    )
    places.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(places)[::-1].copy(), places.name))
    file = tmp_path / "net.onnx"
    onnx.save(model, file)
    with pytest.raises(ArtifactError, match=r"is damaged: a function in it computes something else than export/FORMAT"):
        export_onnx(file, OnnxJob(shapes={"x": (1, 64, 12, 12)}), target=TARGET)
    assert not (tmp_path / "net-export").exists()
