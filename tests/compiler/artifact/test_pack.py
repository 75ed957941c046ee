"""Laws of packing: same results, never larger, and nothing lost on the way back."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.load import check_model
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.sparse_initializers import to_sparse_initializers
from lth_deploy.compiler.artifact.value_types import ValueType, round_values
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS, Preference
from lth_deploy.structures import BLOCKS, INPUTS_FIRST, Block
from tests.compiler.onnx_models import conv, detector, image, in_blocks, initializers, quantized_conv, run, sparse


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
@pytest.mark.parametrize("opset", [13, 18])
def test_outputs_are_bit_equal_to_the_dense_graph(zeros: float, values: ValueType, opset: int) -> None:
    model = detector(zeros, opset, width=64)
    packed, _ = pack(normalize(model), values=values)
    check_model(packed)
    for shape in ((1, 3, 12, 10), (1, 3, 9, 17)):
        expected = run(round_values(normalize(model), values).proto, image(shape=shape))
        for name, value in run(packed, image(shape=shape)).items():
            assert np.array_equal(value, expected[name])


@pytest.mark.parametrize("width", [4, 32])
@pytest.mark.parametrize("prefer", ["size", "load"])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
@pytest.mark.parametrize("zeros", [0.0, 0.6, 0.9])
def test_unpacking_restores_the_dense_file(zeros: float, values: ValueType, prefer: Preference, width: int) -> None:
    model = detector(zeros, width=width)
    packed, reports = pack(normalize(model), values=values, prefer=prefer)
    assert sum(report.bytes for report in reports) < packed.ByteSize()
    assert to_bytes(unpack_model(packed)) == to_bytes(round_values(normalize(model), values).proto)


@pytest.mark.parametrize("values", ["fp32", "fp16"])
@pytest.mark.parametrize("zeros", [0.0, 0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("width", [4, 32])
def test_packing_never_grows_a_file(zeros: float, values: ValueType, width: int) -> None:
    model = detector(zeros, width=width)
    packed, _ = pack(normalize(model), values=values)
    assert packed.ByteSize() <= model.ByteSize()


def test_a_dense_file_keeps_its_bytes() -> None:
    model = detector(0.0)
    assert to_bytes(pack(normalize(model))[0]) == to_bytes(model)


def test_packing_twice_changes_nothing_and_the_input_is_untouched() -> None:
    model = detector(0.9)
    before = to_bytes(model)
    once, _ = pack(normalize(model))
    assert to_bytes(model) == before
    assert to_bytes(pack(normalize(once))[0]) == to_bytes(once) == to_bytes(pack(normalize(model))[0])


def test_a_shared_weight_is_decoded_once() -> None:
    packed, reports = pack(normalize(detector(0.9)))
    decoders = [node for node in packed.graph.node if node.domain == DOMAIN]
    assert sum(node.output[0] == "shared.weight" for node in decoders) == 1
    assert {report.name: report.uses for report in reports}["shared.weight"] == 2


def test_each_packed_layer_is_near_the_entropy() -> None:
    for zeros in (0.3, 0.5, 0.8, 0.95, 0.98):
        for values in ("fp32", "fp16"):
            weights = sparse(np.random.default_rng(1), (256, 256, 3, 3), zeros)
            _, (report,) = pack(normalize(conv(weights)), values=values)  # type: ignore[arg-type]
            assert report.bytes <= 1.08 * report.entropy_bytes, (zeros, values)
            assert report.reason is None


def test_biases_keep_their_type_and_value() -> None:
    model = detector(0.9)
    packed = initializers(pack(normalize(model), values="fp16")[0])
    assert np.array_equal(packed["stem.bias"], initializers(model)["stem.bias"])
    assert packed["stem.bias"].dtype == np.float32


def test_weights_beyond_fp16_stay_fp32() -> None:
    weights = sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9)
    weights.flat[0] = 1e6
    _, (report,) = pack(normalize(conv(weights)), values="fp16")
    assert report.value_type == "fp32"


def test_negative_zero_counts_as_zero() -> None:
    weights = sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9)
    weights[weights == 0] = -0.0
    packed, (report,) = pack(normalize(conv(weights)))
    assert report.zeros == np.count_nonzero(weights == 0)
    restored = initializers(unpack_model(packed))["w"]
    assert not np.signbit(restored[restored == 0]).any()


def _unsigned() -> ModelProto:
    return quantized_conv(np.zeros((8, 8, 3, 3), np.uint8))


def _with_nan() -> ModelProto:
    weights = sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9)
    weights.flat[7] = np.nan
    return conv(weights)


def _overridable() -> ModelProto:
    model = conv(sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9))
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [64, 64, 3, 3]))
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_unsigned(), "uint8"),
        (_with_nan(), "NaN"),
        (_overridable(), "input of the graph"),
    ],
)
def test_what_cannot_be_packed_is_left_alone_with_a_reason(model: ModelProto, reason: str) -> None:
    packed, (report,) = pack(normalize(model), values="fp16")
    assert reason in str(report.reason)
    assert initializers(packed).keys() == initializers(model).keys()
    assert not packed.functions


@pytest.mark.parametrize("block", [*BLOCKS.values(), *INPUTS_FIRST[:2]], ids=lambda block: block.dims)
@pytest.mark.parametrize("int8", [False, True])
def test_the_block_shape_with_the_fewest_bytes_is_stored(block: Block, int8: bool) -> None:
    rng = np.random.default_rng(0)
    weights = in_blocks(rng.integers(1, 127, (256, 256, 3, 3)).astype(np.int8), block, 0.85, rng)
    model = quantized_conv(weights) if int8 else conv(weights.astype(np.float32) / 7)
    packed, (report,) = pack(normalize(model), values="fp16")
    assert FORMATS.get(report.coding).block == block
    assert report.value_type == ("int8" if int8 else "fp16")
    assert report.bytes <= 1.08 * report.entropy_bytes
    check_model(packed)
    assert np.array_equal(
        initializers(unpack_model(packed))["w"], initializers(round_values(normalize(model), "fp16").proto)["w"]
    )
    feeds = {"x": rng.standard_normal((1, 256, 8, 8)).astype(np.float32)}
    assert np.array_equal(run(packed, feeds)["y"], run(round_values(normalize(model), "fp16").proto, feeds)["y"])


def test_weights_listed_as_inputs_by_an_old_file_are_packed() -> None:
    weights = sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9)
    model = conv(weights, ir_version=3)
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [64, 64, 3, 3]))
    packed, (report,) = pack(normalize(model))
    assert report.reason is None
    assert [value.name for value in packed.graph.input] == ["x"]
    check_model(packed)


def test_weights_in_constant_nodes_are_packed() -> None:
    weights = sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9)
    model = conv(weights)
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    packed, (report,) = pack(normalize(model))
    assert report.reason is None
    x = {"x": np.random.default_rng(1).standard_normal((1, 64, 5, 5)).astype(np.float32)}
    assert np.array_equal(run(packed, x)["y"], run(model, x)["y"])


def test_a_weight_with_the_least_int8_is_packed() -> None:
    weights = np.zeros((64, 64, 3, 3), np.int8)
    weights[3, :2] = -128
    model = quantized_conv(weights)
    packed, (report,) = pack(normalize(model))
    assert report.reason is None
    check_model(packed)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 64, 5, 5)).astype(np.float32)}
    for name, value in run(packed, feeds).items():
        assert np.array_equal(value, run(model, feeds)[name])


def test_names_that_are_taken_are_not_taken_again() -> None:
    model = conv(sparse(np.random.default_rng(0), (64, 64, 3, 3), 0.9))
    model.graph.node.append(helper.make_node("Identity", ["y"], ["w.values"]))
    model.graph.node.append(helper.make_node("Identity", ["w.values"], ["w.gaps"]))
    packed, _ = pack(normalize(model))
    check_model(packed)


def test_an_old_opset_is_converted() -> None:
    model = detector(0.9, opset=11)
    packed, reports = pack(normalize(model))
    assert any(report.reason is None for report in reports)
    expected = run(model, image())
    for name, value in run(packed, image()).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.parametrize("zeros", [0.0, 0.9, 1.0])
def test_sparse_initializers_give_the_same_model(zeros: float) -> None:
    model = detector(zeros)
    coo = to_sparse_initializers(normalize(model))
    onnx.checker.check_model(coo)
    assert bool(coo.graph.sparse_initializer) == (zeros == 0.9)
    for name, value in run(coo, image()).items():
        assert np.array_equal(value, run(model, image())[name])
    dense = initializers(normalize(coo).proto)
    assert all(np.array_equal(dense[name], value) for name, value in initializers(model).items())


@pytest.mark.parametrize("bad", [[5, 4], [3, 3], [-1, 2], [0, 8 * 8 * 9]])
def test_bad_indices_of_sparse_initializers_are_refused(bad: list[int]) -> None:
    weights = np.zeros((8, 8, 3, 3), np.float32)
    weights.flat[[1, 2]] = 1
    coo = to_sparse_initializers(normalize(conv(weights)))
    indices = numpy_helper.from_array(np.array(bad, np.int64), "w.indices")
    coo.graph.sparse_initializer[0].indices.CopyFrom(indices)
    with pytest.raises(ArtifactError, match="indices"):
        normalize(coo)


def test_layers_say_the_same_of_dense_and_packed_models() -> None:
    model = detector(0.9)
    packed, _ = pack(normalize(model))
    dense_layers, packed_layers = weight_layers(model), weight_layers(packed)
    for a, b in zip(dense_layers, packed_layers, strict=True):
        assert (a.name, a.op_type, a.nodes, a.shape, a.zeros, a.group) == (
            b.name, b.op_type, b.nodes, b.shape, b.zeros, b.group,
        )  # fmt: skip
    assert [layer.group for layer in dense_layers if layer.name == "depthwise.weight"] == [32]


def test_users_of_a_copied_constant_read_the_constant() -> None:
    """torch's exporter keeps one of several equal biases and makes the others by Identity."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Identity", ["b"], ["b1"]),
        helper.make_node("Identity", ["b1"], ["b2"]),
        helper.make_node("Conv", ["x", "w", "b2"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("Identity", ["b"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "copies",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")],
        [
            numpy_helper.from_array(rng.standard_normal((2, 2, 1, 1)).astype(np.float32), "w"),
            numpy_helper.from_array(np.float32([1, 2]), "b"),
        ],
    )
    plain = normalize(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])).proto
    assert [(node.op_type, list(node.input)) for node in plain.graph.node] == [
        ("Conv", ["x", "w", "b"]),
        ("Identity", ["b"]),
    ]
