"""Copies, casts, pads and the softmax of DFL: what becomes of them on import."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.model.fixed_layers import MEAN_OF_BINS
from lth_deploy.compiler.one_shot.magnitude import prune_onnx
from tests.compiler.importing.node_cases import as_model, run
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
RNG = np.random.default_rng(5)
X = RNG.standard_normal((1, 8, 7, 6)).astype(np.float32)
FEEDS = {"x": X}
W = RNG.standard_normal((4, 8, 3, 3)).astype(np.float32)
BINS = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
SIDES = {"x": 3 * RNG.standard_normal((2, 64, 50)).astype(np.float32)}


def exact(made: ModelProto, feeds: dict[str, Any] = FEEDS) -> list[str]:
    """Operators after import, which changes no bit of what the model computes."""
    imported = import_model(made)
    for before, after in zip(run(made, feeds), run(imported.normalized.proto, feeds), strict=True):
        np.testing.assert_array_equal(before, after)
    return operators(imported)


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ([N("Identity", ["x"], ["a"]), N("Identity", ["a"], ["b"]), N("Neg", ["b"], ["y"])], ["Neg"]),
        ([N("Dropout", ["x"], ["a"]), N("Neg", ["a"], ["y"])], ["Neg"]),
        ([N("Dropout", ["x", "", "no"], ["a", "m"]), N("Neg", ["a"], ["y"])], ["Neg"]),
        ([N("Dropout", ["x", "half", "no"], ["a"]), N("Neg", ["a"], ["y"])], ["Neg"]),
        ([N("Cast", ["x"], ["a"], to=1), N("Neg", ["a"], ["y"])], ["Neg"]),
        ([N("Cast", ["x"], ["a"], to=11), N("Cast", ["a"], ["b"], to=1), N("Neg", ["b"], ["y"])], ["Neg"]),
        (
            [N("Cast", ["x"], ["a"], to=10), N("Cast", ["a"], ["b"], to=1), N("Neg", ["b"], ["y"])],
            ["Cast", "Cast", "Neg"],
        ),
        ([N("Neg", ["x"], ["a"]), N("Identity", ["a"], ["y"])], ["Neg", "Identity"]),
    ],
)
def test_nodes_that_hand_on_what_they_read(nodes: list[NodeProto], left: list[str]) -> None:
    assert exact(as_model(nodes, FEEDS, ["y"], 17, no=np.array(False), half=np.float32(0.5))) == left


def test_a_dropout_that_trains_or_whose_mask_is_read_stays() -> None:
    nodes = [N("Dropout", ["x", "", "yes"], ["a"]), N("Neg", ["a"], ["y"])]
    assert operators(import_model(as_model(nodes, FEEDS, ["y"], 17, yes=np.array(True)))) == ["Dropout", "Neg"]
    nodes = [N("Dropout", ["x"], ["a", "m"]), N("Cast", ["m"], ["c"], to=1), N("Add", ["a", "c"], ["y"])]
    assert exact(as_model(nodes, FEEDS, ["y"], 17)) == ["Dropout", "Cast", "Add"]


def test_a_copy_between_layer_and_norm_is_no_obstacle() -> None:
    nodes = [N("Conv", ["x", "w"], ["a"]), N("Identity", ["a"], ["b"]), N("Mul", ["b", "k"], ["y"])]
    imported = imported_alike(as_model(nodes, FEEDS, ["y"], 17, w=W, k=np.full((4, 1, 1), 3, np.float32)), FEEDS)
    assert operators(imported) == ["Conv"]


def pad(*pads: int, value: float | None = None, **attributes: Any) -> ModelProto:
    given = ["x", "p"] if value is None else ["x", "p", "v"]
    nodes = [N("Pad", given, ["a"], **attributes), N("Conv", ["a", "w"], ["y"], pads=[1, 0, 0, 2], strides=[2, 2])]
    return as_model(nodes, FEEDS, ["y"], 17, p=np.array(pads), w=W, v=np.float32(value or 0))


@pytest.mark.parametrize("model", [pad(0, 0, 1, 2, 0, 0, 3, 0), pad(0, 0, 0, 1, 0, 0, 0, 1, value=0.0)])
def test_zeros_around_an_image_are_added_by_the_convolution(model: ModelProto) -> None:
    assert operators(imported_alike(model, FEEDS)) == ["Conv"]


def test_each_convolution_that_reads_zeros_adds_them_itself() -> None:
    nodes = [
        N("Pad", ["x", "p"], ["a"]),
        N("Conv", ["a", "w"], ["y"]),
        N("MaxPool", ["a"], ["m"], kernel_shape=[2, 2]),
        N("Conv", ["a", "w"], ["z"], pads=[1, 1, 0, 0]),
    ]
    model = as_model(nodes, FEEDS, ["y", "m", "z"], 17, p=np.array([0, 0, 0, 0, 0, 0, 1, 1]), w=W)
    imported = imported_alike(model, FEEDS)
    assert operators(imported) == ["Pad", "Conv", "MaxPool", "Conv"]
    assert [node.input[0] for node in imported.normalized.proto.graph.node if node.op_type == "Conv"] == ["x", "x"]


@pytest.mark.parametrize("opset", [10, 11, 13, 18, 21])
def test_pads_of_all_versions(opset: int) -> None:
    if opset < 11:
        nodes, tensors = [N("Pad", ["x"], ["a"], pads=[0, 0, 1, 1, 0, 0, 1, 1])], {}
    else:
        nodes, tensors = [N("Pad", ["x", "p"], ["a"])], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    if opset >= 18:
        nodes, tensors = [N("Pad", ["x", "p", "", "e"], ["a"])], {"p": np.array([1, 2, 0, 1]), "e": np.array([-1, 2])}
    model = as_model([*nodes, N("Conv", ["a", "w"], ["y"])], FEEDS, ["y"], opset, w=W, **tensors)
    assert operators(imported_alike(model, FEEDS)) == ["Conv"]


@pytest.mark.parametrize(
    "model",
    [
        pad(0, 0, 1, 1, 0, 0, 1, 1, value=1.0),
        pad(0, 0, 1, 1, 0, 0, 1, 1, mode="reflect"),
        pad(0, 0, -1, 0, 0, 0, 0, 0),
        pad(1, 0, 0, 0, 0, 0, 0, 0),
    ],
)
def test_other_pads_stay(model: ModelProto) -> None:
    assert exact(model) == ["Pad", "Conv"]


def dfl(*, transposed: bool = True, **conv: Any) -> ModelProto:
    nodes = [
        N("Reshape", ["x", "s"], ["a"]),
        N("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3]),
        N("Softmax", ["t" if transposed else "a"], ["p"], "softmax", axis=1),
        N("Conv", ["p", "bins"], ["c"], "dfl", **conv),
        N("Reshape", ["c", "o"], ["y"]),
    ]
    shape = np.array([2, 4, 16, 50] if transposed else [2, 16, 4, 50])
    return as_model(
        nodes if transposed else [nodes[0], *nodes[2:]], SIDES, ["y"], 17, s=shape, o=np.array([2, 4, 50]), bins=BINS
    )


FORMS: dict[str, Callable[[], ModelProto]] = {"transposed": dfl, "plain": lambda: dfl(transposed=False)}


@pytest.mark.parametrize("form", FORMS)
def test_the_softmax_of_dfl_moves_to_the_last_axis_with_the_same_bits(form: str) -> None:
    assert exact(FORMS[form](), SIDES) == ["Reshape", "Transpose", "Softmax", "MatMul", "Transpose", "Reshape"]
    assert "rewrote 1 softmax over channels to the last axis" in import_model(FORMS[form]()).notes


def test_one_that_has_the_bins_last_loses_its_transpose() -> None:
    model = dfl()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("s", TensorProto.INT64, [4], [2, 4, 50, 16]))
    model.graph.node[1].attribute[0].ints[:] = [0, 3, 1, 2]
    assert exact(model, SIDES) == ["Reshape", "Softmax", "MatMul", "Transpose", "Reshape"]


def test_others_stay() -> None:
    strided = dfl(strides=[1, 2])
    strided.graph.initializer[1].CopyFrom(helper.make_tensor("o", TensorProto.INT64, [3], [2, 4, 25]))
    assert exact(strided, SIDES) == [node.op_type for node in strided.graph.node]
    returned = dfl()
    returned.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, None))
    assert exact(returned, SIDES) == [node.op_type for node in returned.graph.node]
    two = dfl()
    two.graph.initializer[2].CopyFrom(helper.make_tensor("bins", TensorProto.FLOAT, [2, 16, 1, 1], [1.0] * 32))
    two.graph.initializer[1].CopyFrom(helper.make_tensor("o", TensorProto.INT64, [3], [2, 8, 50]))
    assert exact(two, SIDES) == [node.op_type for node in two.graph.node]


@pytest.mark.parametrize("moved", [True, False])
def test_the_bins_of_dfl_are_never_pruned(moved: bool) -> None:
    model = dfl()
    model.graph.node.insert(0, N("Conv", ["x", "w"], ["z"]))
    model.graph.node[1].input[0] = "z"
    model.graph.initializer.append(numpy_helper.from_array(RNG.standard_normal((64, 64, 1)).astype(np.float32), "w"))
    imported = import_model(model).without(() if moved else ("moved softmax",))
    first, fixed = weight_layers(imported.normalized.proto)
    assert (first.obstacle, fixed.obstacle) == (None, MEAN_OF_BINS)
    _, report = prune_onnx(imported.normalized, 0.5)
    assert report.zeros == report.elements / 2 == 64 * 64 / 2
    assert report.left == {fixed.name: MEAN_OF_BINS}


def pools(*sides: int, **attributes: Any) -> ModelProto:
    names = [f"y{side}" for side in sides]
    nodes = [
        N("MaxPool", ["x"], [name], kernel_shape=[side] * 2, **{"pads": [side // 2] * 4, **attributes})
        for name, side in zip(names, sides, strict=True)
    ]
    return as_model(nodes, FEEDS, names, 17)


@pytest.mark.parametrize(
    ("sides", "count"), [((5, 9, 13), 3), ((13, 9, 5), 3), ((13, 9), 3), ((7,), 2), ((11, 7), 3), ((3, 5), 2)]
)
def test_large_max_pools_become_chains_with_the_same_bits(sides: tuple[int, ...], count: int) -> None:
    assert exact(pools(*sides)) == ["MaxPool"] * count


@pytest.mark.parametrize(
    "attributes",
    [{"strides": [2, 2]}, {"dilations": [2, 2]}, {"pads": [3, 4, 4, 4]}, {"pads": [0] * 4}],
)
def test_other_max_pools_stay(attributes: dict[str, Any]) -> None:
    large = {"x": RNG.standard_normal((1, 2, 30, 31)).astype(np.float32)}
    node = N("MaxPool", ["x"], ["y"], kernel_shape=[9, 9], **{"pads": [4] * 4, **attributes})
    made = as_model([node], large, ["y"], 17)
    assert import_model(made).normalized.proto.graph.node == made.graph.node
