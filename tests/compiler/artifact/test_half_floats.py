"""Models of half precision: layers are computed in float32 between conversions, weights are stored exactly."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.artifact.half_weights import exact_half, speaks_half
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import imported_silently, normalize
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from tests.compiler.onnx_models import sparse
from tests.random_graphs.graph import _session

HALF = TensorProto.FLOAT16
X = np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float16)


def tower(zeros: float = 0.8, kind: int = HALF) -> ModelProto:
    """Three convolutions, of which the second one's weight is read by a ReduceMax too, in `kind`."""
    rng = np.random.default_rng(3)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    tensors = {
        "w1": sparse(rng, (32, 3, 3, 3), zeros),
        "w2": sparse(rng, (64, 32, 3, 3), zeros),
        "w3": sparse(rng, (16, 64, 1, 1), zeros),
        "b1": sparse(rng, (32,), 0.0),
        "six": np.float32(6),
        "zero": np.float32(0),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Clip", ["c1", "zero", "six"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Sigmoid", ["c2"], ["g"]),
        helper.make_node("Mul", ["c2", "g"], ["s"]),
        helper.make_node("Conv", ["s", "w3"], ["c3"]),
        helper.make_node("ReduceMax", ["w2"], ["m"], keepdims=0),
        helper.make_node("Add", ["c3", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("x", kind, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", kind, [1, 16, 8, 8])],
        [numpy_helper.from_array(np.asarray(value).astype(dtype), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def largest(first: np.ndarray, second: np.ndarray) -> float:
    assert first.dtype == second.dtype
    a, b = first.astype(np.float64), second.astype(np.float64)
    return float(np.abs(a - b).max() / np.abs(a).max())


def _imported(model: ModelProto) -> tuple[ModelProto, list[str]]:
    imported = imported_silently(model, keep_inputs=True, plain=False)
    return imported.normalized.proto, list(imported.notes)


def test_layers_become_float32_with_their_own_weights_and_others_read_them_as_before() -> None:
    model = tower()
    plain, notes = _imported(model)
    assert notes == ["3 layers of float16 are computed in float32"]
    before, after = stored_weights(model), stored_weights(plain)
    for name in ("w1", "w2", "w3", "b1"):
        assert after[name].type_name == "float"
        assert np.array_equal(after[name].weights(), before[name].weights().astype(np.float32))
    casts = [(node.input[0], node.output[0]) for node in plain.graph.node if node.op_type == "Cast"]
    # One conversion in, one out of the connected layers, and one for what else reads a weight.
    assert len(casts) == 4
    assert ("x", "x.float32") in casts
    assert {source for source, _ in casts} == {"x", "w2", "m", "y.float32"}
    onnx.checker.check_model(plain)
    assert largest(_session(model).run(None, {"x": X})[0], _session(plain).run(None, {"x": X})[0]) < 5e-3
    again, nothing = _imported(plain)
    assert again == plain
    assert nothing == []


@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_weights_are_stored_in_half_precision_exactly(values: str) -> None:
    model = tower()
    packed, reports = pack(normalize(model), values=values)  # type: ignore[arg-type]
    assert {report.value_type for report in reports} == {"fp16"}
    assert sum(node.domain == DOMAIN for node in packed.graph.node) >= 2
    for name, weight in stored_weights(packed).items():
        if name in ("w1", "w2", "w3"):
            assert np.array_equal(weight.weights(), stored_weights(model)[name].weights())
    decoded = _session(with_outputs(packed, ["w2"])).run(None, {"x": X})[0]
    assert np.array_equal(decoded, stored_weights(model)["w2"].weights().astype(np.float32))


def test_what_float16_cannot_hold_stays_float32() -> None:
    fits = np.float32([1.5, -0.25, 0])
    found = exact_half(fits)
    assert found is not None
    assert found.dtype == np.float16
    for odd in (1e-9, 70000.0, 1 + 2**-12):
        assert exact_half(np.float32([1.5, odd])) is None


def test_float32_models_are_packed_as_ever() -> None:
    rounded = tower(kind=TensorProto.FLOAT)
    for tensor in rounded.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert not speaks_half(rounded)
    assert {report.value_type for report in pack(normalize(rounded), values="fp32")[1]} == {"fp32"}


@pytest.mark.parametrize("sparsity", [None, 0.9])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_export_computes_what_the_original_does_with_and_without_kernels(
    values: str, sparsity: float | None, tmp_path: Path
) -> None:
    onnx.save(tower(), tmp_path / "half.onnx")
    target = Target(values=values, profile=False, region_zeros=0.0)  # type: ignore[arg-type]
    made = export_onnx(tmp_path / "half.onnx", OnnxJob(sparsity=sparsity), target=target)
    assert made.bytes < made.dense_bytes
    wanted = tower()
    if sparsity is not None:
        kept = stored_weights(unpack_model(onnx.load(made.artifact)))
        for tensor in wanted.graph.initializer:
            if tensor.name in ("w1", "w2", "w3"):
                full = kept[tensor.name].weights().astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(full, tensor.name))
        zeros = sum(int((numpy_helper.to_array(t) == 0).sum()) for t in wanted.graph.initializer if t.name[0] == "w")
        assert zeros / (864 + 18432 + 1024) == pytest.approx(0.9, abs=1e-3)
    expected = _session(wanted).run(None, {"x": X})[0]
    for name in ("onnxruntime", "lth_deploy"):
        found = RUNTIMES.get(name).load(made.artifact, threads=1).run({"x": X})["y"]
        assert largest(expected, found) < 5e-3


def test_inspect_counts_the_zeros_and_bytes_of_half_precision(tmp_path: Path) -> None:
    onnx.save(tower(0.75), tmp_path / "half.onnx")
    report = inspect_artifact(tmp_path / "half.onnx")
    weights = {one.name: numpy_helper.to_array(one) for one in tower(0.75).graph.initializer}
    for row in report.layers:
        assert row.zeros == int((weights[row.name] == 0).sum())
        assert row.bytes == weights[row.name].nbytes
        assert row.coding == "dense fp16"
    assert report.prunable.share == pytest.approx(0.75, abs=0.02)
    assert report.dense_bytes > report.bytes


def test_weights_that_stay_half_have_a_reason() -> None:
    returned = tower()
    returned.graph.output.append(helper.make_tensor_value_info("w1", HALF, [32, 3, 3, 3]))
    obstacles = {layer.name: layer.obstacle for layer in weight_layers(normalize(returned).proto)}
    assert obstacles == {"w1": "stored as float16, in which the model returns it", "w2": None, "w3": None}
    double = tower(kind=TensorProto.DOUBLE)
    reasons = {layer.obstacle for layer in weight_layers(double)}
    assert reasons == {"stored as double; only float32, float16, bfloat16 and int8 weights are packed"}


def test_bfloat16_weights_that_are_converted_lose_nothing(tmp_path: Path) -> None:
    """The weights are stored as bfloat16 and computed with in float32."""
    model = tower(kind=TensorProto.FLOAT)
    for tensor in list(model.graph.initializer):
        if tensor.name in ("w1", "w2", "w3"):
            short = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.CopyFrom(numpy_helper.from_array(short, f"{tensor.name}.short"))
            name = tensor.name.removesuffix(".short")
            model.graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    onnx.save(model, tmp_path / "short.onnx")
    made = export_onnx(tmp_path / "short.onnx", target=Target(values="fp32", profile=False))
    assert all(layer.reason is None for layer in made.layers if layer.elements > 2000)
    x = X.astype(np.float32)
    wanted = _session(model).run(None, {"x": x})[0]
    for name in ("onnxruntime", "lth_deploy"):
        found = RUNTIMES.get(name).load(made.artifact, threads=1).run({"x": x})["y"]
        assert largest(wanted, found) < 1e-5


def test_a_model_that_computes_in_bfloat16_is_refused_in_one_sentence(tmp_path: Path) -> None:
    onnx.save(tower(kind=TensorProto.BFLOAT16), tmp_path / "brain.onnx", save_as_external_data=False)
    with pytest.raises(ArtifactError) as raised:
        export_onnx(tmp_path / "brain.onnx", target=Target(profile=False))
    assert "bfloat16" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "brain-export").exists()
