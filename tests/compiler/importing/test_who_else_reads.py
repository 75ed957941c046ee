"""Folding and conversion where a value has other readers, several makers, or an old file's rules."""

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.artifact.weightless import weightless_notes
from lth_deploy.compiler.importing.imported import import_model, normalize
from lth_deploy.compiler.importing.restored import original_with_weights
from lth_deploy.errors import ArtifactError
from tests.compiler.importing.node_cases import as_model, holds, near, run

N = helper.make_node
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 8, 6, 5)).astype(np.float32)
FEEDS = {"x": X}
W = (RNG.standard_normal((8, 8, 3, 3)) * (RNG.random((8, 8, 3, 3)) > 0.9)).astype(np.float32)
TWO = np.float32(2)
MASKED = N("Mul", ["w", "m"], ["f"])
HALVES = N("Split", ["w", "n"], ["f", "g"], axis=0)
BOTH = np.concatenate([W, W[::-1]])


def conv(weight: str = "f", x: str = "x", y: str = "y") -> NodeProto:
    return N("Conv", [x, weight], [y], pads=[1] * 4)


@pytest.mark.parametrize(
    ("nodes", "tensors", "outputs", "weights"),
    [
        ([MASKED, conv()], {"w": W, "m": TWO}, ["y", "f"], ["f"]),
        ([MASKED, conv()], {"w": W, "m": TWO}, ["y", "w"], ["f"]),
        (
            [MASKED, conv(y="a"), N("ReduceSum", ["f"], ["r"], keepdims=0), N("Add", ["a", "r"], ["y"])],
            {"w": W, "m": TWO}, ["y"], ["f"],
        ),
        ([HALVES, conv(y="a"), conv("g", "a")], {"w": BOTH, "n": np.array([8, 8])}, ["y"], ["f", "g"]),
        (
            [HALVES, conv(y="a"), N("ReduceMax", ["g"], ["k"], keepdims=0), N("Add", ["a", "k"], ["y"])],
            {"w": BOTH, "n": np.array([8, 8])}, ["y"], ["f"],
        ),
        (
            [N("Concat", ["w", "w"], ["f"], axis=1), N("Concat", ["x", "x"], ["xx"], axis=1), conv(x="xx")],
            {"w": W}, ["y"], ["f"],
        ),
        ([N("Identity", ["w"], ["i"]), conv("i")], {"w": W}, ["y", "i"], ["i"]),
        ([N("Constant", [], ["f"], value=numpy_helper.from_array(W, "f")), conv()], {}, ["y", "f"], ["f"]),
    ],
)  # fmt: skip
def test_what_else_reads_a_value_still_gets_it(
    nodes: list[NodeProto],
    tensors: dict[str, np.ndarray],
    outputs: list[str],
    weights: list[str],  # type: ignore[type-arg]
) -> None:
    after = holds(as_model(nodes, FEEDS, outputs, 17, **tensors), FEEDS, near)
    assert [layer.name for layer in weight_layers(after)] == weights
    holds(pack(normalize(after))[0], FEEDS, near)


def _in_both_branches(then: str, other: str) -> ModelProto:
    def branch(name: str) -> object:
        nodes = [N("Mul", ["w", "m"], [name]), conv(name, y=f"{name}.y")]
        output = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [output])

    node = N("If", ["flag"], ["y"], then_branch=branch(then), else_branch=branch(other))
    return as_model([node], {**FEEDS, "flag": np.array(True)}, ["y"], 17, w=W, m=TWO)


@pytest.mark.parametrize("flag", [True, False])
def test_weights_are_folded_inside_branches(flag: bool) -> None:
    after = holds(_in_both_branches("a", "b"), {**FEEDS, "flag": np.array(flag)}, near)
    assert {layer.name for layer in weight_layers(after)} == {"a", "b"}


def test_a_name_that_two_branches_give_is_not_folded_but_named() -> None:
    after = holds(_in_both_branches("a", "a"), {**FEEDS, "flag": np.array(True)}, near)
    assert "2 Conv without a row: its weight is computed in the graph by Mul" in weightless_notes(after)[0]


def test_weights_go_into_files_in_which_every_initializer_is_an_input() -> None:
    constant = N("Constant", [], ["v"], value=numpy_helper.from_array(W, "v"))
    model = as_model([conv("w", y="a"), constant, conv("v", "a")], FEEDS, ["y"], 9, w=W)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, W.shape))
    model.ir_version = 3
    imported = import_model(model)
    changed = original_with_weights(imported, {"w": 2 * W, "v": 3 * W})
    assert [value.name for value in changed.graph.input] == ["x", "w", "v"]
    assert near([6 * value for value in run(model, FEEDS)], run(changed, FEEDS))


@pytest.mark.parametrize("opset", [4, 6])
def test_operators_older_than_onnx_runtime_are_refused_by_name(opset: int) -> None:
    model = as_model([N("Add", ["x", "b"], ["y"], "sum", broadcast=1)], FEEDS, ["y"], opset, b=np.ones(5, np.float32))
    with pytest.raises(ArtifactError, match=f"Add of opset {opset} .node 'sum'. cannot be converted exactly"):
        import_model(model)


def test_what_did_not_change_since_is_taken_from_any_opset() -> None:
    holds(as_model([conv("w", y="a"), N("Relu", ["a"], ["y"])], FEEDS, ["y"], 6, w=W), FEEDS)
