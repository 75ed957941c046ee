"""What follows from constants and from known sizes is computed on import, within bounds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.importing.frozen_sizes import refusal, with_sizes
from lth_deploy.compiler.importing.imported import import_model, normalize
from lth_deploy.compiler.importing.plain import values
from lth_deploy.compiler.model.ort_session import trial_of
from lth_deploy.engine_messages import EngineFailure
from lth_deploy.errors import UsageError
from tests.compiler.importing.node_cases import as_model, run
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
RNG = np.random.default_rng(3)
X = RNG.standard_normal((1, 8, 6, 4)).astype(np.float32)
FEEDS = {"x": X}
TO_ROWS = [
    N("Shape", ["x"], ["s"]),
    N("Gather", ["s", "two"], ["h"]),
    N("Gather", ["s", "three"], ["w"]),
    N("Mul", ["h", "w"], ["hw"]),
    N("Unsqueeze", ["hw", "zero"], ["u"]),
    N("Concat", ["one", "eight", "u"], ["n"], axis=0),
    N("Reshape", ["x", "n"], ["r"]),
    N("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
]
CONSTANTS = {"two": np.array(2), "three": np.array(3), "zero": np.array([0]), "one": np.array([1])}
CONSTANTS |= {"eight": np.array([8])}
POSITIONS = [
    N("Cast", ["hw"], ["f"], to=1),
    N("Range", ["fzero", "f", "fone"], ["k"]),
    N("Unsqueeze", ["k", "minus"], ["kk"]),
    N("Sin", ["kk"], ["sin"]),
    N("Add", ["t", "sin"], ["y"]),
]
MORE = {"fzero": np.float32(0), "fone": np.float32(1), "minus": np.array([-1])}


def with_positions() -> ModelProto:
    return as_model([*TO_ROWS, *POSITIONS], FEEDS, ["y"], 17, **CONSTANTS, **MORE)


def opened(model: ModelProto, *places: int) -> ModelProto:
    """The model with these sizes of its input left open."""
    for place in places:
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = f"d{place}"
    return model


def test_sizes_and_positions_are_computed() -> None:
    imported = imported_alike(with_positions(), FEEDS)
    assert operators(imported) == ["Reshape", "Transpose", "Add"]
    assert "computed 10 operators on constants and known sizes" in imported.notes
    assert {tensor.name for tensor in imported.normalized.proto.graph.initializer} == {"n", "sin"}


def test_an_open_batch_keeps_nothing_else_from_being_computed() -> None:
    assert operators(imported_alike(opened(with_positions(), 0), FEEDS)) == ["Reshape", "Transpose", "Add"]


def test_open_sizes_stay_computed_until_they_are_fixed() -> None:
    model = opened(with_positions(), 2, 3)
    assert "Range" in operators(imported_alike(model, FEEDS))
    frozen = with_sizes(model, {"x": X.shape})
    imported = imported_alike(frozen, FEEDS)
    assert operators(imported) == ["Reshape", "Transpose", "Add"]
    assert [dim.dim_value for dim in frozen.graph.input[0].type.tensor_type.shape.dim] == list(X.shape)
    assert with_sizes(model, {}) is model


def test_a_part_of_the_shape_that_a_slice_or_attributes_take() -> None:
    nodes = [
        N("Shape", ["x"], ["a"], start=2),
        N("Shape", ["x"], ["s"]),
        N("Slice", ["s", "two", "four"], ["b"]),
        N("Add", ["a", "b"], ["c"]),
        N("Concat", ["one", "eight", "c"], ["n"], axis=0),
        N("Expand", ["v", "n"], ["e"]),
        N("ReduceSum", ["e"], ["m"]),
        N("Add", ["x", "m"], ["y"]),
    ]
    constants = CONSTANTS | {"two": np.array([2]), "four": np.array([4]), "v": np.ones((1, 1, 1, 1), np.float32)}
    made = opened(as_model(nodes, FEEDS, ["y"], 17, **constants), 0)
    assert operators(imported_alike(made, FEEDS)) == ["Add"]


def test_a_node_of_which_only_the_shape_was_read_goes() -> None:
    nodes = [N("Neg", ["x"], ["a"]), N("Abs", ["a"], ["b"]), N("Shape", ["b"], ["s"]), N("Expand", ["k", "s"], ["e"])]
    made = as_model([*nodes, N("Add", ["x", "e"], ["y"])], FEEDS, ["y"], 17, k=np.ones((1, 1, 1, 1), np.float32))
    assert operators(imported_alike(made, FEEDS)) == ["Add"]


def test_what_is_large_stays_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "LARGEST", 64)
    imported = imported_alike(with_positions(), FEEDS)
    assert operators(imported) == ["Reshape", "Transpose", "Range", "Unsqueeze", "Sin", "Add"]
    monkeypatch.setattr(values, "LARGEST", 1 << 20)
    monkeypatch.setattr(values, "ALL", 64)
    assert "Sin" in operators(imported_alike(with_positions(), FEEDS))


def test_a_size_that_the_file_only_claims_is_not_believed() -> None:
    nodes = [N("NonZero", ["x"], ["z"]), N("Shape", ["z"], ["s"]), N("Cast", ["s"], ["y"], to=1)]
    made = as_model(nodes, FEEDS, ["y"], 17)
    made.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.INT64, [4, 3]))
    imported = import_model(made)
    assert operators(imported) == ["NonZero", "Shape", "Cast"]
    np.testing.assert_array_equal(run(made, FEEDS)[0], run(imported.normalized.proto, FEEDS)[0])


STAYS: dict[str, Callable[[], tuple[list[Any], dict[str, Any]]]] = {
    "what the model returns": lambda: ([N("Neg", ["k"], ["y"])], {"k": np.ones(3, np.float32)}),
    "random numbers": lambda: ([N("RandomUniform", [], ["r"], shape=[3]), N("Neg", ["r"], ["y"])], {}),
    "weights that are stored in bytes": lambda: (
        [N("DequantizeLinear", ["q", "k"], ["d"]), N("Add", ["x", "d"], ["y"])],
        {"q": np.ones((1, 8, 6, 4), np.int8), "k": np.float32(0.5)},
    ),
    "a matrix that is read turned and as it is": lambda: (
        [N("Transpose", ["k"], ["t"]), N("MatMul", ["x", "t"], ["a"]), N("MatMul", ["a", "k"], ["y"])],
        {"k": RNG.standard_normal((5, 4)).astype(np.float32)},
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_stays(case: str) -> None:
    nodes, constants = STAYS[case]()
    made = as_model(nodes, FEEDS, ["y"], 17, **constants)
    assert operators(import_model(made)) == [node.op_type for node in nodes]


def test_models_of_our_own_stay_as_they_are() -> None:
    assert normalize(with_positions()).proto.graph.node == with_positions().graph.node


def test_branches_read_what_is_computed_outside_of_them() -> None:
    branch = [N("Reshape", ["x", "n"], ["in"])]
    made = [helper.make_tensor_value_info("in", TensorProto.FLOAT, None)]
    other = [N("Reshape", ["t", "n"], ["other"])]
    made_other = [helper.make_tensor_value_info("other", TensorProto.FLOAT, None)]
    nodes = [
        *TO_ROWS,
        N("ReduceMax", ["x"], ["m"], keepdims=0),
        N("Greater", ["m", "fzero"], ["c"]),
        N(
            "If",
            ["c"],
            ["y"],
            then_branch=helper.make_graph(branch, "then", [], made),
            else_branch=helper.make_graph(other, "else", [], made_other),
        ),
    ]
    model = as_model(nodes, FEEDS, ["y"], 17, **CONSTANTS, fzero=MORE["fzero"])
    imported = imported_alike(model, FEEDS)
    assert "Shape" not in operators(imported)
    assert "n" in {tensor.name for tensor in imported.normalized.proto.graph.initializer}


def test_constants_in_nodes_are_as_good_as_initializers() -> None:
    nodes = [
        *(N("Constant", [], [name], value=numpy_helper.from_array(value, name)) for name, value in CONSTANTS.items()),
        *TO_ROWS[:-1],
        N("Neg", ["r"], ["y"]),
    ]
    assert operators(imported_alike(as_model(nodes, FEEDS, ["y"], 17), FEEDS)) == ["Reshape", "Neg"]


@pytest.mark.parametrize(("side", "stated"), [(6, True), (7, False)])
def test_sizes_that_a_model_refuses_are_named_with_the_node_and_both_shapes(side: int, stated: bool) -> None:
    nodes = [
        N("MaxPool", ["x"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        N("Resize", ["small", "", "by"], ["large"], "upsample"),
        N("Concat", ["x", "large"], ["y"], "/neck/Concat", axis=1),
    ]
    made = opened(as_model(nodes, FEEDS, ["y"], 17, by=np.array([1, 1, 2, 2], np.float32)), 2, 3)
    sizes = {"x": (1, 8, side, 6)}
    reason = trial_of(made)({"x": np.zeros(sizes["x"], np.float32)})
    assert (reason is None) == stated
    if reason is not None:
        words = "node '/neck/Concat' (Concat) does not take 1x8x7x6 and 1x8x6x6"
        assert refusal(made, sizes, reason) == EngineFailure(words, reason.text)
    unknown = EngineFailure("of no node", "of no node")
    assert refusal(made, sizes, unknown) == unknown


def test_a_shape_of_no_input_is_refused() -> None:
    with pytest.raises(UsageError, match="the model has no such input"):
        with_sizes(with_positions(), {"image": (1, 8, 6, 4)})
    with pytest.raises(UsageError, match="does not fit"):
        with_sizes(with_positions(), {"x": (1, 8, 6, 5)})


def test_pads_that_an_exporter_turns_around_are_computed() -> None:
    """As torch exports F.pad: pads of the last axis first, reversed and transposed."""
    nodes = [
        N("Reshape", ["turned", "pairs"], ["p"]),
        N("Transpose", ["p"], ["q"]),
        N("Reshape", ["q", "flat"], ["pads"]),
        N("Pad", ["x", "pads"], ["y"]),
    ]
    turned = np.array([0, 0, 0, 0, 1, 2, 3, 4])
    model = as_model(nodes, FEEDS, ["y"], 17, turned=turned, pairs=np.array([-1, 2]), flat=np.array([-1]))
    imported = imported_alike(model, FEEDS)
    assert operators(imported) == ["Pad"]
