"""Weights behind something that folds: what becomes of them on import, and that nothing else changes."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.artifact.weightless import weightless_notes
from lth_deploy.compiler.importing import evaluated
from lth_deploy.compiler.importing.imported import import_model, normalize
from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
from tests.compiler.importing.node_cases import as_model, holds, near, run

N = helper.make_node
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 8, 6, 5)).astype(np.float32)
FEEDS = {"x": X}
W = RNG.standard_normal((16, 8, 3, 3)).astype(np.float32) * (RNG.random((16, 8, 3, 3)) > 0.8)
PER_CHANNEL = np.maximum(np.abs(W).reshape(16, -1).max(1), 1e-3).astype(np.float32) / 127
MASK = (RNG.random(W.shape) > 0.5).astype(np.float32)


def conv(name: str = "f", x: str = "x", y: str = "y") -> NodeProto:
    return N("Conv", [x, name], [y], "conv", pads=[1] * 4)


def chain(*nodes: NodeProto, opset: int = 17, **tensors: Any) -> ModelProto:
    return as_model([*nodes, conv()], FEEDS, ["y"], opset, **tensors)


def fake_quantized(weight: str = "w", to: str = "f", **attributes: Any) -> list[NodeProto]:
    return [
        N("QuantizeLinear", [weight, "s", "z"], ["q"], **attributes),
        N("DequantizeLinear", ["q", "s", "z"], [to], **attributes),
    ]


def value(name: str, array: Any) -> NodeProto:
    return N("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


ZEROS = np.zeros(16, np.int8)
CHAINS: dict[str, Callable[[], ModelProto]] = {
    "one scale": lambda: chain(*fake_quantized(), w=W, s=np.float32(0.01), z=np.int8(0)),
    "one scale, to bytes with an offset": lambda: chain(*fake_quantized(), w=W, s=np.float32(0.01), z=np.uint8(128)),
    "a scale a channel": lambda: chain(*fake_quantized(axis=0), w=W, s=PER_CHANNEL, z=ZEROS),
    "blocks": lambda: chain(
        *fake_quantized(axis=1, block_size=4),
        opset=21,
        w=W,
        s=np.full((16, 2, 3, 3), 0.02, np.float32),
        z=np.zeros((16, 2, 3, 3), np.int8),
    ),
    "four bits": lambda: chain(
        N("QuantizeLinear", ["w", "s"], ["q"], axis=0, output_dtype=TensorProto.INT4),
        N("DequantizeLinear", ["q", "s"], ["f"], axis=0),
        opset=21,
        w=W,
        s=PER_CHANNEL * 16,
    ),
    "mask": lambda: chain(N("Mul", ["w", "m"], ["f"]), w=W, m=MASK),
    "mask of bools": lambda: chain(N("Cast", ["m"], ["c"], to=1), N("Mul", ["w", "c"], ["f"]), w=W, m=MASK > 0),
    "choice": lambda: chain(N("Where", ["m", "w", "zero"], ["f"]), w=W, m=MASK > 0, zero=np.float32(0)),
    "mask, then fake quantization": lambda: chain(
        N("Mul", ["w", "m"], ["k"]), *fake_quantized("k", axis=0), w=W, m=MASK, s=PER_CHANNEL, z=ZEROS
    ),
    "bytes times a mask": lambda: chain(
        N("DequantizeLinear", ["q", "s"], ["d"], axis=0),
        N("Mul", ["d", "m"], ["f"]),
        q=np.rint(W / PER_CHANNEL[:, None, None, None]).astype(np.int8),
        s=PER_CHANNEL,
        m=MASK,
    ),
    "norm folded by hand": lambda: chain(
        N("Sub", ["w", "a"], ["c"]),
        N("Div", ["c", "b"], ["d"]),
        N("Add", ["d", "a"], ["f"]),
        w=W,
        a=np.float32(0.5),
        b=np.full((16, 1, 1, 1), 3, np.float32),
    ),
    "weight norm": lambda: chain(
        N("ReduceL2", ["v"], ["n"], axes=[1, 2, 3]),
        N("Div", ["v", "n"], ["u"]),
        N("Mul", ["u", "g"], ["f"]),
        v=W + np.float32(0.1),
        g=np.ones((16, 1, 1, 1), np.float32),
    ),
    "half": lambda: chain(N("Cast", ["h"], ["c"], to=1), N("Identity", ["c"], ["f"]), h=W.astype(np.float16)),
    "double": lambda: chain(N("Cast", ["h"], ["f"], to=1), h=W.astype(np.float64)),
    "turned": lambda: chain(N("Transpose", ["t"], ["f"], perm=[3, 2, 0, 1]), t=W.transpose(2, 3, 1, 0).copy()),
    "reshaped": lambda: chain(value("n", [16, 8, 3, 3]), N("Reshape", ["t", "n"], ["f"]), t=W.reshape(-1)),
    "squeezed": lambda: chain(N("Squeeze", ["t", "a"], ["f"]), t=W[None], a=np.array([0])),
    "copied": lambda: chain(N("Identity", ["w"], ["i"]), N("Identity", ["i"], ["f"]), w=W),
    "parts": lambda: chain(N("Concat", ["a", "b"], ["f"], axis=0), a=W[:5], b=W[5:]),
    "one of two": lambda: chain(
        N("Split", ["w", "n"], ["f", "g"], axis=0), w=np.concatenate([W, W]), n=np.array([16, 16])
    ),
    "a slice": lambda: chain(
        N("Slice", ["w", "b", "e", "a"], ["f"]),
        w=np.concatenate([W, W]),
        b=np.array([3]),
        e=np.array([19]),
        a=np.array([0]),
    ),
    "a Constant": lambda: chain(value("f", W)),
    "a sparse Constant": lambda: chain(N("Constant", [], ["f"], sparse_value=sparse(W))),
    "the same number everywhere": lambda: chain(
        N("ConstantOfShape", ["n"], ["f"], value=numpy_helper.from_array(np.array([0.5], np.float32))),
        n=np.array([16, 8, 3, 3]),
    ),
}


def sparse(array: npt.NDArray[np.float32]) -> Any:
    at = np.flatnonzero(array)
    values = numpy_helper.from_array(array.reshape(-1)[at], "v")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(at.astype(np.int64), "i"), array.shape)


@pytest.mark.parametrize("name", CHAINS)
def test_a_weight_behind_a_chain_is_a_layer_that_packs(name: str) -> None:
    model = CHAINS[name]()
    after = holds(model, FEEDS, near)
    (layer,) = weight_layers(after)
    # The weight is called what the layer reads in the original, so that pruned weights find their place.
    assert layer.name == {"copied": "w", "half": "c"}.get(name, "f")
    assert layer.obstacle is None
    assert layer.elements == W.size
    assert not weightless_notes(after)
    packed, (report,) = pack(normalize(after))
    assert (report.reason is None) == (layer.zeros > layer.elements / 2)
    assert holds(packed, FEEDS, near).graph.node[-1].op_type == "Conv"


@pytest.mark.parametrize("name", CHAINS)
def test_pruned_weights_find_their_place_in_the_original(name: str) -> None:
    imported = import_model(CHAINS[name]())
    before = imported.original.SerializeToString()
    assert original_with_weights(imported, {}) is imported.original
    (layer,) = weight_layers(imported.normalized.proto)
    weights = np.where(RNG.random(layer.shape) > 0.5, layer.stored.weights(), np.float32(0))
    pruned = imported.normalized.with_tensors({layer.name: weights})
    changed = changed_weights(imported, pruned)
    assert set(changed) == {layer.name}
    assert near(run(pruned.proto, FEEDS), run(original_with_weights(imported, changed), FEEDS))
    assert imported.original.SerializeToString() == before


def test_importing_twice_changes_nothing_more() -> None:
    for make in CHAINS.values():
        once = import_model(make(), keep_inputs=True).normalized
        twice = import_model(once.proto, keep_inputs=True)
        assert once == twice.normalized
        assert not twice.notes


def quantized_layer(*weight: NodeProto, **tensors: Any) -> ModelProto:
    """A layer between bytes."""
    nodes = [
        N("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        N("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        *weight,
        conv(x="xd", y="c"),
        N("QuantizeLinear", ["c", "xs", "xz"], ["cq"]),
        N("DequantizeLinear", ["cq", "xs", "xz"], ["y"]),
    ]
    return as_model(nodes, FEEDS, ["y"], 17, xs=np.float32(0.05), xz=np.uint8(128), **tensors)


def test_float_weights_between_bytes_become_bytes() -> None:
    model = quantized_layer(*fake_quantized(axis=0), w=W, s=PER_CHANNEL, z=ZEROS)
    after = holds(model, FEEDS, near)
    (layer,) = weight_layers(after)
    assert (layer.name, layer.stored.int8) == ("q", True)
    assert "QuantizeLinear" not in [node.op_type for node in after.graph.node if node.output[0] == "q"]
    assert layer.obstacle is None


def test_bytes_that_are_stored_stay_bytes() -> None:
    stored = np.rint(W / PER_CHANNEL[:, None, None, None]).astype(np.int8)
    for model in (
        quantized_layer(N("DequantizeLinear", ["q", "s"], ["f"], axis=0), q=stored, s=PER_CHANNEL),
        chain(N("DequantizeLinear", ["q", "s"], ["f"], axis=0), q=stored, s=PER_CHANNEL),
        chain(
            N("DequantizeLinear", ["q", "s"], ["d"], axis=3),
            N("Transpose", ["d"], ["f"], perm=[3, 2, 0, 1]),
            q=stored.transpose(2, 3, 1, 0).copy(),
            s=PER_CHANNEL,
        ),
    ):
        imported = import_model(model)
        assert not imported.notes
        assert weight_layers(imported.normalized.proto)[0].stored.int8


def test_a_tensor_that_others_read_as_well_is_stored_once() -> None:
    nodes = [
        N("Transpose", ["w"], ["t"], perm=[1, 0]),
        N("MatMul", ["x", "t"], ["a"]),
        N("MatMul", ["a", "w"], ["y"]),
    ]
    feeds = {"x": RNG.standard_normal((2, 7)).astype(np.float32)}
    after = holds(as_model(nodes, feeds, ["y"], 17, w=RNG.standard_normal((5, 7)).astype(np.float32)), feeds)
    assert [tensor.name for tensor in after.graph.initializer] == ["w"]
    assert [(layer.name, layer.uses) for layer in weight_layers(after)] == [("w", 2)]


def test_biases_and_statistics_in_small_constants_become_initializers() -> None:
    vector = np.ones(16, np.float32)
    nodes = [
        value("w", W),
        value("b", vector),
        N("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        N("Constant", [], ["g"], value_floats=[1.0] * 16),
        value("one", [16]),
        N("ConstantOfShape", ["one"], ["m"]),
        N("Relu", ["c"], ["r"]),
        N("BatchNormalization", ["r", "g", "b", "m", "g"], ["y"]),
    ]
    after = holds(as_model(nodes, FEEDS, ["y"], 17), FEEDS)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Relu", "BatchNormalization"]
    assert {tensor.name for tensor in after.graph.initializer} == {"w", "b", "g", "m"}


def test_a_few_bytes_do_not_become_gigabytes() -> None:
    nodes = [
        N("ConstantOfShape", ["n"], ["z"]),
        N("Tile", ["z", "r"], ["f"]),
    ]
    huge = chain(*nodes, n=np.array([1 << 10, 8, 3, 3]), r=np.array([1 << 14, 1, 1, 1]))
    imported = import_model(huge)
    assert any("much larger" in note for note in imported.notes)
    assert "Tile" in weightless_notes(imported.normalized.proto)[0]
    assert sum(len(tensor.raw_data) for tensor in imported.normalized.proto.graph.initializer) < evaluated.FREE_BYTES


def test_one_constant_that_claims_too_much_keeps_no_other_from_being_folded() -> None:
    nodes = [
        N("Expand", ["one", "n"], ["huge"]),
        conv("huge", y="unused"),
        N("Mul", ["w", "m"], ["f"], domain="ai.onnx"),
    ]
    tensors = {"one": np.ones(1, np.float32), "n": np.array([1 << 20, 8, 3, 3]), "w": W, "m": MASK}
    after = import_model(chain(*nodes, **tensors)).normalized.proto
    assert [layer.name for layer in weight_layers(after)] == ["f"]
    assert "Expand" in weightless_notes(after)[0]


def test_many_operators_are_not_computed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluated, "MAX_NODES", 8)
    names = ["w", *(f"w{i}" for i in range(9)), "f"]
    nodes = [N("Neg", [before], [after]) for before, after in pairwise(names)]
    assert any("more than 8 operators" in note for note in import_model(chain(*nodes, w=W)).notes)


@pytest.mark.parametrize(
    ("nodes", "tensors", "words"),
    [
        ([N("RandomUniform", [], ["f"], shape=[16, 8, 3, 3], seed=1.0)], {}, "computed in the graph by RandomUniform"),
        ([N("Sinh", ["w"], ["f"])], {"w": W}, "computed in the graph by Sinh"),
        ([N("ReduceMax", ["x"], ["m"], keepdims=0), N("Mul", ["w", "m"], ["f"])], {"w": W}, "follows from an input"),
    ],
)
def test_what_cannot_be_folded_is_named(nodes: list[NodeProto], tensors: dict[str, Any], words: str) -> None:
    after = holds(chain(*nodes, **tensors), FEEDS)
    (note,) = weightless_notes(after)
    assert words in note
    assert "(conv)" in note


def test_an_empty_table_says_why() -> None:
    model = as_model([N("Relu", ["x"], ["r"]), N("Neg", ["r"], ["y"])], FEEDS, ["y"], 17)
    assert weightless_notes(model) == [
        "no layer is listed because the graph has no Conv, ConvTranspose, Gemm or MatMul node; most of its nodes are "
        "Relu, Neg"
    ]
