"""Ranges of least error, and layers that stay float because their error reaches the outputs."""

import logging
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from lth_deploy.arrays import Array, Feeds

pytest.importorskip("sympy", reason="the int8 extra is not installed")

from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.quantization import sensitive
from lth_deploy.compiler.quantization.activation_samples import Sample, sampled
from lth_deploy.compiler.quantization.calibrated import VALUE_WORK, work_of
from lth_deploy.compiler.quantization.elementwise import Readers, function_of
from lth_deploy.compiler.quantization.plan import PlannedModel
from lth_deploy.compiler.quantization.quantize_ticket import quantize
from lth_deploy.compiler.quantization.ranges import best_range, grid_between, rounded, whole_range
from lth_deploy.compiler.quantization.rounded_model import RoundedModel
from lth_deploy.config.target import Target
from tests.compiler.onnx_models import run


def silu(source: str, made: str) -> list[NodeProto]:
    gate = helper.make_node("Sigmoid", [source], [f"{made}.gate"])
    return [gate, helper.make_node("Mul", [source, f"{made}.gate"], [made])]


def network(spread: float = 1.0) -> ModelProto:
    """A stem, a depthwise layer, a 1x1 layer, two heads of sigmoids; the stem's first channel is `spread` as large."""
    rng = np.random.default_rng(3)
    stem = rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    stem[0] *= spread
    depthwise = rng.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32)
    depthwise[0] /= spread
    tensors = {
        "stem": stem,
        "depthwise": depthwise,
        "mix": rng.normal(0, 0.4, (16, 8, 1, 1)).astype(np.float32),
        "classes": rng.normal(0, 0.4, (5, 16, 1, 1)).astype(np.float32),
        "boxes": rng.normal(0, 0.4, (4, 16, 1, 1)).astype(np.float32),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], **pads),
        *silu("a", "b"),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], group=8, **pads),
        *silu("c", "d"),
        helper.make_node("Conv", ["d", "mix"], ["e"]),
        *silu("e", "f"),
        helper.make_node("Conv", ["f", "classes"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["scores"]),
        helper.make_node("Conv", ["f", "boxes"], ["h"]),
        helper.make_node("Concat", ["scores", "h"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", 1, [1, 3, 24, 24])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def pictures(count: int = 6) -> list[Feeds]:
    rng = np.random.default_rng(7)
    return [{"x": rng.standard_normal((1, 3, 24, 24)).astype(np.float32)} for _ in range(count)]


def quantized_tensors(model: ModelProto) -> set[str]:
    return {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def float_layers(model: ModelProto) -> set[str]:
    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    return {node.input[1] for node in model.graph.node if node.op_type == "Conv"} & floats


def test_what_the_last_layers_make_stays_float_and_their_weights_do_not() -> None:
    made = quantize(normalize(network()), pictures(), Target(values="int8")).model.proto
    assert quantized_tensors(made) == {"x", "a", "b", "c", "d", "e", "f"}
    assert float_layers(made) == set()
    expected, found = (run(one, dict(pictures()[0]))["y"] for one in (network(), made))
    assert 0 < np.abs(found - expected).max() < 0.1 * np.ptp(expected)


def test_the_other_methods_keep_the_last_outputs_float_too() -> None:
    target = Target.model_validate({"values": "int8", "calibration": {"method": "minmax"}})
    made = quantize(normalize(network()), pictures(), target).model.proto
    assert not {"g", "h", "scores", "y"} & quantized_tensors(made)


def test_a_layer_whose_error_reaches_the_outputs_stays_float_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = normalize(network(spread=4000))
    caplog.set_level(logging.INFO, "lth_deploy.compiler.quantization.calibrated")
    made = quantize(model, pictures(), Target(values="int8", float_macs=0.5))
    assert any(re.fullmatch(r"\d layers with \d\d % of the multiplications are int8", m) for m in caplog.messages)
    assert any("stay float" in m and "depthwise" in m for m in caplog.messages)
    assert "depthwise" in made.kept
    assert "reaches the outputs" in made.kept["depthwise"]
    assert "b" not in quantized_tensors(made.model.proto)
    assert "stem" not in made.kept
    all_int8 = quantize(model, pictures(), Target(values="int8", float_macs=0))
    assert "depthwise" not in all_int8.kept

    def error(other: ModelProto) -> float:
        feed = dict(pictures()[1])
        return float(np.square(run(other, feed)["y"] - run(model.proto, feed)["y"]).mean())

    assert error(made.model.proto) < 0.25 * error(all_int8.model.proto)


def test_what_gains_less_than_its_time_is_worth_leaves_int8_only_where_time_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, target = normalize(network(spread=4000)), Target(values="int8", float_macs=0.5)
    worth = quantize(model, pictures(), target, care=0)
    assert "depthwise" in worth.kept
    monkeypatch.setattr(sensitive, "GAINS", ((0.02, 100.0), (0.0, 0.0)))
    dear = quantize(model, pictures(), target, care=0)
    assert (dear.kept, dear.passed_up) == ({}, True)
    careful = quantize(model, pictures(), target, care=1)
    assert "depthwise" in careful.kept
    assert not careful.passed_up


def test_the_gain_that_is_asked_for_grows_with_the_work_that_becomes_slower() -> None:
    prices = sensitive.Prices({"a": 10, "b": 10}, {"a": 10.0, "b": 30.0}, 0.5, 0)
    assert [prices.least_gain(names) for names in ([], ["a"], ["a", "b"])] == pytest.approx([0.02, 0.52, 2.02])
    assert replace(prices, care=sensitive.MOST_CARE).least_gain(["a", "b"]) == 0.0


def test_work_counts_multiplications_and_values() -> None:
    planned = PlannedModel(normalize(network()))
    work = work_of(planned, {"depthwise": 8 * 9 * 100, "mix": 16 * 8 * 100})
    assert work == {"depthwise": 7200 + VALUE_WORK * 100 * (8 + 8), "mix": 12800 + VALUE_WORK * 100 * (8 + 16)}


def test_a_sample_has_the_extremes_of_every_image_and_a_share_of_the_rest() -> None:
    feeds = pictures(3)
    found = sampled(network(), ["x", "b"], feeds)
    values = np.concatenate([feed["x"].reshape(-1) for feed in feeds])
    assert (found["x"].low, found["x"].high) == (values.min(), values.max())
    assert 500 * 3 <= found["x"].values.size <= 1100 * 3
    assert found["b"].low == pytest.approx(-0.2785, abs=1e-3)


def sample_of(values: Array) -> Sample:
    return Sample(min(0.0, float(values.min())), max(0.0, float(values.max())), values.astype(np.float32))


def test_the_range_leaves_out_what_the_activation_makes_nothing_of() -> None:
    sample = sample_of(np.linspace(-100, 10, 4000))
    readers = Readers(network().graph)
    function = function_of(readers.elementwise("a"), readers.scalars, 18)
    np.testing.assert_allclose(function(np.float32([1.0, -2.0]))[0], [0.731059, -0.238406], rtol=1e-5)
    grid = best_range(sample, function)
    assert -20 < -grid.zero * grid.scale < -3
    plain = best_range(sample, lambda values: [values])
    assert -plain.zero * plain.scale < -80


def test_the_range_clips_a_tail_of_few_values_and_is_never_worse_than_all() -> None:
    values = np.append(np.random.default_rng(0).standard_normal(20_000), [400.0])
    for sample in (sample_of(values), sample_of(values[:-1]), sample_of(np.abs(values)), sample_of(np.zeros(9))):
        errors = [
            float(np.square(rounded(sample.values, grid) - sample.values).mean())
            for grid in (best_range(sample, lambda x: [x]), whole_range(sample))
        ]
        assert errors[0] <= errors[1]
    assert grid_between(0, 0) == (1.0, 0)


def test_an_activation_is_followed_to_what_others_read() -> None:
    found = Readers(network().graph).elementwise("a")
    assert [node.op_type for node in found.nodes] == ["Sigmoid", "Mul"]
    assert found.results == ("b",)
    assert Readers(network().graph).elementwise("h").results == ("h",)


def test_a_rounded_model_is_exact_until_something_is_rounded() -> None:
    model, feeds = network(), pictures(2)
    weights = {"mix": np.zeros((16, 8, 1, 1), np.float32)}
    rounding = RoundedModel(model, ["x", "b"], weights, ["g", "h"], feeds)
    assert rounding.error({}, ()) == 0
    fine, coarse = (rounding.error({"b": grid_between(-1, high)}, ()) for high in (8, 4000))
    assert 0 < fine < 0.01 < coarse
    assert rounding.error({}, ("mix",)) > 0.5
    assert rounding.error({}, ()) == 0
