"""Static INT8 twins: the trunk is quantized, box arithmetic is not, and shared biases keep their scales."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.errors import ArtifactError, DataError
from lth_deploy.measure.machine import describe_machine
from tests.tiny_artifact import tiny_model

pytest.importorskip("sympy", reason="the int8 extra is not installed")

from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.compiler.quantization.trunk import trunk_of


def value(name: str, shape: list, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def build(nodes: list, constants: dict[str, np.ndarray], outputs: dict[str, list]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", [1, 3, "h", "w"])],
        [value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from lth_deploy.runtimes import RUNTIMES

    return RUNTIMES.get("onnxruntime").load(path, threads=1).run(feeds)


def pictures(count: int = 4) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [{"x": generator.normal(0, 1, (1, 3, 16, 24)).astype(np.float32)} for _ in range(count)]


def residual() -> onnx.ModelProto:
    """conv, relu, conv, residual add, conv; then a scale and shift of what would be boxes, and an If."""
    generator = np.random.default_rng(1)
    constants = {
        name: generator.normal(0, 0.3, (8, channels, 3, 3)).astype(np.float32)
        for name, channels in (("w1", 3), ("w2", 8), ("w3", 8))
    }
    constants |= {"anchor": np.array([4.0], np.float32), "flat": np.array([-1]), "yes": np.array(True)}
    pads = {"pads": [1, 1, 1, 1]}
    branch = [
        helper.make_graph([helper.make_node("Add", ["boxes", "anchor"], [out])], out, [], [value(out, ["n"])])
        for out in ("then_out", "else_out")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], **pads),
        helper.make_node("Add", ["c", "b"], ["d"], name="residual"),
        helper.make_node("Conv", ["d", "w3"], ["e"], **pads),
        helper.make_node("Reshape", ["e", "flat"], ["f"]),
        helper.make_node("Add", ["f", "anchor"], ["boxes"], name="box_arithmetic"),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch[0], else_branch=branch[1]),
    ]
    return build(nodes, constants, {"y": ["n"]})


def test_the_trunk_holds_residual_adds_but_no_box_arithmetic() -> None:
    model = residual()
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"n{number}"
    trunk = trunk_of(model)
    assert [node.name for node in trunk.layers] == ["n0", "n2", "n4"]
    assert [node.name for node in trunk.carriers] == ["n1", "residual"]


def test_outputs_stay_close_and_weights_become_a_quarter(tmp_path: Path) -> None:
    onnx.save(residual(), str(tmp_path / "dense.onnx"))
    # Without VNNI, x86 sums 16 bit wide: the eighth bit of weights would saturate them.
    narrow = not describe_machine().exact_u8s8
    report = quantize_dense(tmp_path / "dense.onnx", pictures(), tmp_path / "int8.onnx", reduce_range=narrow)
    assert (report.weight_layers, report.images, report.skipped_images) == (3, 4, 0)
    expected, actual = (run(tmp_path / name, pictures()[0])["y"] for name in ("dense.onnx", "int8.onnx"))
    error = np.abs(expected - actual)
    assert 0 < error.max() < 0.05 * np.ptp(expected)
    assert not onnx.load(str(tmp_path / "int8.onnx")).graph.value_info
    stored = {t.name: t for t in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    eights = [t for t in stored.values() if t.data_type == TensorProto.INT8 and len(t.dims) == 4]
    assert len(eights) == 3
    scales = [t for name, t in stored.items() if name.startswith("w2") and name.endswith("scale")]
    assert [list(t.dims) for t in scales] == [[8]]


@pytest.mark.parametrize("float_outputs", [True, False])
def test_onnx_runtime_computes_last_layers_in_int8_only_with_quantized_outputs(
    tmp_path: Path, float_outputs: bool
) -> None:
    onnx.save(residual(), str(tmp_path / "dense.onnx"))
    quantize_dense(tmp_path / "dense.onnx", pictures(), tmp_path / "int8.onnx", float_outputs=float_outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    assert (nodes.count("QLinearConv"), nodes.count("Conv")) == ((2, 1) if float_outputs else (3, 0))


def test_a_bias_shared_by_inputs_of_different_scale_stays_right(tmp_path: Path) -> None:
    weights = np.eye(8, 3, dtype=np.float32).reshape(8, 3, 1, 1)
    constants = {
        "w": weights,
        "bias": np.linspace(1, 2, 8, dtype=np.float32),
        "k": np.array([0.01], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["large"]),
        helper.make_node("Mul", ["x", "k"], ["tiny"]),
        helper.make_node("Conv", ["tiny", "w", "bias"], ["small"]),
    ]
    shape = [1, 8, "h", "w"]
    onnx.save(build(nodes, constants, {"large": shape, "small": shape}), str(tmp_path / "dense.onnx"))
    quantize_dense(tmp_path / "dense.onnx", pictures(), tmp_path / "int8.onnx")
    expected, actual = (run(tmp_path / name, pictures()[1]) for name in ("dense.onnx", "int8.onnx"))
    for name in ("large", "small"):
        step = np.ptp(expected[name]) / 255
        assert np.abs(expected[name] - actual[name]).max() < 3 * step


def test_images_without_objects_are_left_out_and_must_not_be_all(tmp_path: Path) -> None:
    constants = {
        "w": np.ones((2, 3, 1, 1), np.float32),
        "zero": np.array([0.0], np.float32),
        "flat": np.array([-1]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Greater", ["b", "zero"], ["c"]),
        helper.make_node("Compress", ["b", "c"], ["y"], axis=0),
    ]
    onnx.save(build(nodes, constants, {"y": ["n"]}), str(tmp_path / "dense.onnx"))
    empty = {"x": np.full((1, 3, 8, 8), -1, np.float32)}
    report = quantize_dense(tmp_path / "dense.onnx", [empty, *pictures(2), empty], tmp_path / "int8.onnx")
    assert (report.images, report.skipped_images) == (2, 2)
    with pytest.raises(DataError, match="2 images"):
        quantize_dense(tmp_path / "dense.onnx", [empty, empty], tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    onnx.save(build(nodes, {}, {"y": [1, 3, "h", "w"]}), str(tmp_path / "dense.onnx"))
    with pytest.raises(ArtifactError, match="leave the INT8 row out"):
        quantize_dense(tmp_path / "dense.onnx", pictures(), tmp_path / "int8.onnx")


def test_reduced_range_keeps_weights_within_seven_bits(tmp_path: Path) -> None:
    onnx.save(tiny_model(), str(tmp_path / "dense.onnx"))
    feeds = [{"image": np.random.default_rng(n).integers(0, 255, (40, 50, 3), dtype=np.uint8)} for n in range(3)]
    for reduce_range, most in ((False, 127), (True, 64)):
        out = tmp_path / "int8.onnx"
        quantize_dense(tmp_path / "dense.onnx", feeds, out, reduce_range=reduce_range)
        largest = max(
            int(np.abs(numpy_helper.to_array(t).astype(int)).max())
            for t in onnx.load(str(out)).graph.initializer
            if t.data_type == TensorProto.INT8 and len(t.dims) == 4
        )
        assert largest <= most
        assert largest > most // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn"])
def test_whole_torchvision_detectors_quantize_and_run(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    from lth_deploy.compiler.model.capture import capture
    from lth_deploy.detectors.exportable import ExportableDetector
    from lth_deploy.detectors.fold_norm import fold_norm
    from tests.tiny_detectors import picture, tiny_detector

    module = ExportableDetector(fold_norm(tiny_detector(name)).module)
    dense, int8 = tmp_path / "dense.onnx", tmp_path / "int8.onnx"
    onnx.save(capture(module, picture(64, 80)), str(dense))
    report = quantize_dense(dense, ({"image": picture(64, 80, seed)} for seed in range(2)), int8)
    assert report.weight_layers > 30
    assert int8.stat().st_size < 0.3 * dense.stat().st_size
    outputs = run(int8, {"image": picture(72, 60)})
    assert len(outputs["scores"]) == len(outputs["boxes"]) == len(outputs["labels"])
