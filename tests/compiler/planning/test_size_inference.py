"""Multiplications that follow from sizes are those that a run counts."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.random_inputs import likely_sizes, trial_feeds
from lth_deploy.compiler.planning.mac_count import positions
from lth_deploy.compiler.planning.size_inference import inferred_sizes, positions_from, without_weights
from lth_deploy.config.target import Target
from tests.compiler.onnx_models import detector
from tests.hostile.make_corpus import valid_int8_region, valid_region
from tests.tiny_artifact import tiny_model


def counted(model: ModelProto) -> tuple[dict[str, int], list[str]]:
    plain = expand_regions(model)
    return positions_from(plain, inferred_sizes(without_weights(plain, likely_sizes(model))))


@pytest.fixture(autouse=True)
def small_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 37)


@pytest.mark.parametrize(
    "model",
    [
        detector(0.9),
        detector(0.9, opset=13),
        tiny_model(zeros=0.5),
        emit(normalize(detector(0.9)), Target(values="fp16"))[0],
        valid_region(),
        valid_int8_region(),
    ],
    ids=["detector", "opset 13", "tiny", "packed", "region", "int8 region"],
)
def test_they_are_those_of_a_run(model: ModelProto) -> None:
    times, unknown = counted(model)
    assert times == positions(normalize(model), trial_feeds(model, likely_sizes(model), seed=0)) != {}
    assert not unknown


def test_weights_do_not_travel() -> None:
    model = detector(0.5, width=64)
    assert without_weights(model, likely_sizes(model)).ByteSize() < 0.05 * model.ByteSize()


def data_dependent() -> ModelProto:
    """A convolution, and a product with as many rows as the image has bright pixels."""
    weights = {"w": np.ones((8, 3, 1, 1), np.float32), "v": np.ones((4, 5), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("NonZero", ["c"], ["found"]),
        helper.make_node("Transpose", ["found"], ["rows"], perm=[1, 0]),
        helper.make_node("Cast", ["rows"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["floats", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    graph.initializer[1].CopyFrom(numpy_helper.from_array(weights["v"][:, :4].copy(), "v"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_what_depends_on_the_image_is_not_known() -> None:
    times, unknown = counted(data_dependent())
    assert times == {"w": 37 * 37}
    assert unknown == ["v"]


def test_a_large_constant_node_is_a_weight_without_data() -> None:
    values = np.ones((8, 3, 16, 16), np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values)),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 20, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    light = without_weights(model, likely_sizes(model))
    assert light.ByteSize() < 500
    assert inferred_sizes(light)["y"] == [1, 8, 5, 5]
