"""Which inputs a model is tried on: sizes that fit together, found where the graph fixes them, given by the user."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.model.input_sizes import candidate_sizes
from lth_deploy.compiler.model.ort_session import trial_of
from lth_deploy.compiler.model.random_inputs import fitting_sizes, trial_feeds
from lth_deploy.errors import ArtifactError, UsageError
from tests.compiler.onnx_models import detector

Shape = Sequence[int | str | None] | None
FLOAT = TensorProto.FLOAT


def model_of(nodes: list[NodeProto], inputs: dict[str, Shape], tensors: dict[str, Any], **types: int) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, types.get(name, FLOAT), shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def conv_model(shape: Shape, channels: int = 3, **inputs: Shape) -> ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    return model_of([node], {"x": shape, **inputs}, {"w": np.ones((4, channels, 1, 1), np.float32)})


def first(model: ModelProto, **given: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return next(candidate_sizes(model, given))


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ([1, 3, 32, 40], 3, (1, 3, 32, 40)),
        (["N", 3, "H", "W"], 3, (1, 3, 320, 320)),
        ([None, None, None, None], 5, (1, 5, 320, 320)),
        (["N", "C", 48, "W"], 1, (1, 1, 48, 320)),
        ([0, 3, 0, 0], 3, (1, 3, 320, 320)),
        (None, 7, (1, 7, 320, 320)),
        (["batch_size", 3, "side", "side"], 3, (1, 3, 320, 320)),
    ],
)
def test_open_sizes_of_a_picture(shape: Shape, channels: int, expected: tuple[int, ...]) -> None:
    assert first(conv_model(shape, channels)) == {"x": expected}


def test_the_default_model_is_tried_on_320_pixels() -> None:
    assert first(detector()) == {"image": (1, 3, 320, 320)}


def test_channels_last_are_found_through_a_transpose() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    model = model_of(nodes, {"x": ["n", "h", "w_", "c"]}, {"w": np.ones((4, 2, 1, 1), np.float32)}, x=TensorProto.UINT8)
    sizes = fitting_sizes(model, {}, trial_of(model))
    assert sizes == {"x": (1, 320, 320, 2)}


def test_a_picture_without_a_batch_has_two_sides() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["y"]),
    ]
    tensors = {"w": np.ones((4, 3, 1, 1), np.float32), "zero": np.array([0])}
    assert first(model_of(nodes, {"x": [3, "h", "w_"]}, tensors)) == {"x": (3, 320, 320)}


def test_features_are_those_that_a_product_takes() -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", "f"]}, {"w": np.ones((7, 2), np.float32)}
    )
    assert first(model) == {"x": (1, 7)}
    tokens = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", "t", "f"]}, {"w": np.ones((7, 2), np.float32)}
    )
    assert first(tokens) == {"x": (1, 16, 7)}


def test_a_symbol_is_one_size_wherever_it_stands() -> None:
    model = conv_model(["b", 3, "h", "w"], im_info=["b", 2], again=["b", 3, "h", "w"], odd=["h", "b"])
    assert first(model) == {"x": (1, 3, 320, 320), "im_info": (1, 2), "again": (1, 3, 320, 320), "odd": (320, 1)}
    given = first(model, x=(2, 3, 64, 96))
    assert given["im_info"] == (2, 2)
    assert given["again"] == (2, 3, 64, 96)
    assert given["odd"] == (64, 2)


def test_a_noted_size_comes_first() -> None:
    model = conv_model(["n", 3, "h", "w"])
    model.metadata_props.add(key="imgsz", value="[672, 672]")
    assert first(model) == {"x": (1, 3, 672, 672)}


@pytest.mark.parametrize(("height", "width"), [(48, 320), (640, 640), (224, 224), (32, 32)])
def test_sizes_that_the_graph_fixes_are_found(height: int, width: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Reshape", ["c", "to"], ["y"]),
    ]
    tensors = {"w": np.ones((1, 3, 1, 1), np.float32), "to": np.array([1, height, width])}
    model = model_of(nodes, {"x": ["n", 3, "h", "w_"]}, tensors)
    assert fitting_sizes(model, {}, trial_of(model)) == {"x": (1, 3, height, width)}


def odd_model() -> ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Reshape", ["c", "to"], ["y"])]
    tensors = {"w": np.ones((1, 3, 1, 1), np.float32), "to": np.array([1, 37, 41])}
    return model_of(nodes, {"x": ["n", 3, "h", "w_"]}, tensors)


def test_without_a_usual_size_the_option_is_named_with_what_is_declared() -> None:
    model = odd_model()
    with pytest.raises(UsageError) as raised:
        fitting_sizes(model, {}, trial_of(model))
    text = str(raised.value)
    assert (
        "input 'x', declared as [n, 3, h, w_]; give --shape x=N,3,N,N. With the first sizes: a node Reshape fails"
        in text
    )
    assert "requested shape:{1,37,41}" in str(raised.value.detail)
    assert "\n" not in text
    assert len(text) < 500
    assert fitting_sizes(model, {"x": (1, 3, 37, 41)}, trial_of(model)) == {"x": (1, 3, 37, 41)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": (1, 3, 8, 8)}, "no such input; its inputs are x"),
        ({"x": (1, 3, 8)}, r"x=1,3,8 does not fit input 'x', declared as \[n, 3, h, w_\]"),
        ({"x": (1, 4, 8, 8)}, "does not fit"),
        ({"x": (1, 3, 8, 8)}, "the model does not run with --shape x=1,3,8,8: a node Reshape fails"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_one_sentence(given: dict[str, tuple[int, ...]], message: str) -> None:
    model = odd_model()
    with pytest.raises(UsageError, match=message):
        fitting_sizes(model, given, trial_of(model))


def test_shapes_that_contradict_each_other_are_refused() -> None:
    model = conv_model(["b", 3, "h", "w"], im_info=["b", 2])
    with pytest.raises(UsageError, match="'b' would be 2 here and 1 elsewhere"):
        first(model, x=(1, 3, 8, 8), im_info=(2, 2))


def test_a_model_of_fixed_sizes_that_does_not_run_is_damaged() -> None:
    model = odd_model()
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 8, 8), strict=True):
        dim.dim_value = size
    with pytest.raises(ArtifactError, match="does not run on inputs of the sizes that it declares"):
        fitting_sizes(model, {}, trial_of(model))


def test_initializers_that_are_inputs_get_no_value() -> None:
    model = conv_model(["n", 3, "h", "w"])
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [4, 3, 1, 1]))
    assert first(model).keys() == {"x"}


def test_inputs_that_are_no_tensors_are_named() -> None:
    model = conv_model(["n", 3, "h", "w"])
    model.graph.input.append(helper.make_tensor_sequence_value_info("many", FLOAT, None))
    with pytest.raises(UsageError, match="input 'many' is no tensor but sequence type"):
        first(model)


def test_noise_is_seeded_and_fits_the_input() -> None:
    model = detector()
    sizes = {"image": (1, 3, 20, 24)}
    one, same, other = (trial_feeds(model, sizes, seed)["image"] for seed in (1, 1, 2))
    assert one.shape == (1, 3, 20, 24)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_inputs_that_say_what_they_hold_get_it() -> None:
    inputs: dict[str, Shape] = {
        "x": ["n", 3, 64, 96],
        "im_shape": ["n", 2],
        "scale_factor": ["n", 2],
        "im_info": ["n", 3],
        "orig_target_sizes": ["n", 2],
        "iou_threshold": [],
        "score_threshold": [1],
        "max_output_boxes": [1],
        "mask": ["n", 4],
    }
    types = {"orig_target_sizes": TensorProto.INT64, "max_output_boxes": TensorProto.INT64, "mask": TensorProto.INT64}
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    model = model_of([node], inputs, {"w": np.ones((4, 3, 1, 1), np.float32)}, **types)
    feeds = trial_feeds(model, first(model), seed=0)
    assert feeds["im_shape"].tolist() == [[64, 96]]
    assert feeds["scale_factor"].tolist() == [[1, 1]]
    assert feeds["im_info"].tolist() == [[64, 96, 1]]
    assert feeds["orig_target_sizes"].tolist() == [[64, 96]]
    assert feeds["orig_target_sizes"].dtype == np.int64
    assert feeds["iou_threshold"] == 0.5
    assert feeds["score_threshold"].tolist() == [0.25]
    assert feeds["max_output_boxes"].tolist() == [100]
    assert set(feeds["mask"].ravel().tolist()) <= {0, 1}
