"""Pruning keeps exactly the weights it says, and says which."""

import logging

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.one_shot.magnitude import keep_largest, prune_onnx
from lth_deploy.errors import UsageError
from tests.compiler.onnx_models import conv, detector, initializers


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.999])
def test_exactly_k_weights_are_zero(sparsity: float) -> None:
    model = detector(0.0)
    pruned, report = prune_onnx(normalize(model), sparsity)
    layers = weight_layers(pruned.proto)
    zeros, elements = sum(layer.zeros for layer in layers), sum(layer.elements for layer in layers)
    assert zeros == report.zeros == round(sparsity * elements)
    assert report.sparsity == zeros / elements


def test_every_kept_weight_is_at_least_as_large_as_every_pruned_one() -> None:
    model = detector(0.0)
    pruned = initializers(prune_onnx(normalize(model), 0.7)[0].proto)
    dense = initializers(model)
    names = [layer.name for layer in weight_layers(model)]
    kept = np.concatenate([np.abs(dense[n][pruned[n] != 0]).ravel() for n in names])
    gone = np.concatenate([np.abs(dense[n][pruned[n] == 0]).ravel() for n in names])
    assert kept.min() >= gone.max()
    assert all(np.array_equal(pruned[n][pruned[n] != 0], dense[n][pruned[n] != 0]) for n in names)


def test_a_layer_of_small_weights_keeps_its_largest(caplog: pytest.LogCaptureFixture) -> None:
    model = detector(0.0)
    for tensor in model.graph.initializer:
        if tensor.name == "stem.weight":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e-6), tensor.name))
    dense = np.abs(initializers(model)["stem.weight"])
    with caplog.at_level(logging.INFO):
        pruned, report = prune_onnx(normalize(model), 0.8)
    assert report.zeros == round(0.8 * report.elements)
    assert "(stem.weight) would have lost almost all weights" in caplog.text
    kept = initializers(pruned.proto)["stem.weight"] != 0
    assert kept.sum() == max(int(0.01 * kept.size), -(-len(kept) // 16))
    for first in range(0, len(kept), 16):
        best = dense[first : first + 16]
        assert kept[first : first + 16].reshape(-1)[best.argmax()]


def test_biases_are_not_pruned() -> None:
    model = detector(0.0)
    pruned = initializers(prune_onnx(normalize(model), 0.9)[0].proto)
    assert np.array_equal(pruned["stem.bias"], initializers(model)["stem.bias"])


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    tensors=st.lists(
        hnp.arrays(np.float32, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0])),
        min_size=1,
        max_size=4,
    ),
    share=st.floats(0, 1),
)
def test_ties_go_to_the_earlier_weight(tensors: list[np.ndarray], share: float) -> None:
    flat = np.abs(np.concatenate(tensors))
    kept = round(share * flat.size)
    expected = np.zeros(flat.size, np.bool_)
    expected[np.argsort(-flat, kind="stable")[:kept]] = True
    assert np.array_equal(np.concatenate(keep_largest(tensors, kept)), expected)


def test_weights_that_were_zero_count() -> None:
    model = detector(0.5)
    layers = weight_layers(prune_onnx(normalize(model), 0.6)[0].proto)
    elements = sum(layer.elements for layer in layers)
    assert sum(layer.zeros for layer in layers) == round(0.6 * elements)


def test_excluded_layers_keep_their_weights() -> None:
    model = detector(0.0)
    pruned, report = prune_onnx(normalize(model), 0.9, exclude=["gemm.*", "stem.weight"])
    for name in ("gemm.weight", "stem.weight"):
        assert np.array_equal(initializers(pruned.proto)[name], initializers(model)[name])
        assert "excluded" in report.left[name]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_sparsities_are_refused(sparsity: float) -> None:
    with pytest.raises(UsageError, match="sparsity"):
        prune_onnx(normalize(detector(0.0)), sparsity)


def test_a_pattern_without_a_match_is_refused() -> None:
    with pytest.raises(UsageError, match="matches no weight"):
        prune_onnx(normalize(detector(0.0)), 0.5, exclude=["backbone.*"])


def test_a_model_without_sound_weights_is_refused() -> None:
    weights = np.full((8, 8, 3, 3), np.nan, np.float32)
    with pytest.raises(UsageError, match="NaN"):
        prune_onnx(normalize(conv(weights)), 0.5)


def _two_int8_layers(zero: int = 0) -> ModelProto:
    """Two convolutions of int8 weights; the bytes of the second stand for weights ten times as large."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    for name, x, y, scale in (("a", "x", "h", np.linspace(0.01, 0.02, 16)), ("b", "h", "y", np.full(16, 0.1))):
        weights = rng.integers(-128, 128, (16, 16, 3, 3)).astype(np.int8)
        arrays = {name: weights, f"{name}.s": scale.astype(np.float32), f"{name}.z": np.full(16, zero, np.int8)}
        tensors += [numpy_helper.from_array(value, key) for key, value in arrays.items()]
        nodes += [
            helper.make_node("DequantizeLinear", list(arrays), [f"{name}.f"], axis=0),
            helper.make_node("Conv", [x, f"{name}.f"], [y], name, pads=[1] * 4),
        ]
    values = [helper.make_tensor_value_info(name, 1, [1, 16, "h", "w"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_int8_weights_are_pruned_by_what_they_stand_for() -> None:
    model = _two_int8_layers()
    pruned, report = prune_onnx(normalize(model), 0.5)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in pruned.proto.graph.initializer}
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert after["a"].dtype == after["b"].dtype == np.int8
    assert np.count_nonzero(after["a"]) < np.count_nonzero(after["b"]) / 4
    kept = [np.abs(after[name].astype(np.float32)) * after[f"{name}.s"][:, None, None, None] for name in "ab"]
    least = min(layer[layer > 0].min() for layer in kept)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name in "ab":
        real = np.abs(before[name].astype(np.float32)) * before[f"{name}.s"][:, None, None, None]
        assert np.array_equal(after[name][real > least], before[name][real > least])
        assert not after[name][real < least].any()


def test_int8_weights_with_another_zero_are_left_alone() -> None:
    with pytest.raises(UsageError, match="zero point other than zero"):
        prune_onnx(normalize(_two_int8_layers(zero=3)), 0.5)
