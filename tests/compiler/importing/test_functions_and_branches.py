"""Layers inside functions, loops and branches, and constants that are inputs of the graph."""

import logging

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.artifact.weightless import weightless_notes
from lth_deploy.compiler.importing.imported import import_model, normalize
from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from tests.compiler.importing.node_cases import as_model, holds, near, run

N = helper.make_node
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 8, 6, 5)).astype(np.float32)
FEEDS = {"x": X}
W, V = (RNG.standard_normal((8, 8, 3, 3)).astype(np.float32) for _ in range(2))


def constant(name: str, array: np.ndarray) -> NodeProto:  # type: ignore[type-arg]
    return N("Constant", [], [name], value=numpy_helper.from_array(array, name))


def conv(x: str, w: str, y: str) -> NodeProto:
    return N("Conv", [x, w], [y], y, pads=[1] * 4)


def with_functions(opset: int = 17, inner: int = 17) -> ModelProto:
    """A function with a weight of its own and one that it is given; it is called twice, by another function."""
    layer = helper.make_function(
        "elsewhere",
        "Layer",
        ["x", "w"],
        ["y"],
        [constant("own", V), conv("x", "own", "a"), N("Relu", ["a"], ["b"]), conv("b", "w", "y")],
        [helper.make_opsetid("", inner)],
    )
    two = helper.make_function(
        "elsewhere",
        "Two",
        ["x", "w"],
        ["y"],
        [N("Layer", ["x", "w"], ["a"], domain="elsewhere"), N("Layer", ["a", "w"], ["y"], domain="elsewhere")],
        [helper.make_opsetid("", opset), helper.make_opsetid("elsewhere", 1)],
    )
    model = as_model([N("Two", ["x", "w"], ["y"], domain="elsewhere")], FEEDS, ["y"], opset, w=W)
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    model.functions.extend([layer, two])
    return model


def in_branches() -> ModelProto:
    """A weight of the same name in both branches, one as an initializer and one as a Constant, and one of outside."""

    def branch(name: str, own: bool) -> object:
        nodes = [conv("x", "w", f"{name}.a"), conv(f"{name}.a", "outer", f"{name}.y")]
        output = [helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, None)]
        tensors = [numpy_helper.from_array(W, "w")] if own else []
        return helper.make_graph([*([] if own else [constant("w", V)]), *nodes], name, [], output, tensors)

    node = N("If", ["flag"], ["y"], then_branch=branch("then", True), else_branch=branch("else", False))
    return as_model([node], {**FEEDS, "flag": np.array(True)}, ["y"], 17, outer=V[::-1].copy())


def pruned(model: NormalizedModel) -> NormalizedModel:
    return model.with_tensors(
        {
            layer.name: np.where(RNG.random(layer.shape) > 0.5, layer.stored.weights(), 0).astype("f")
            for layer in weight_layers(model.proto)
        }
    )


def test_layers_of_functions_are_layers_of_the_model() -> None:
    after = holds(with_functions(), FEEDS, near)
    assert not after.functions
    assert [layer.uses for layer in weight_layers(after)] == [1, 2, 1]
    assert not weightless_notes(after)


def test_a_function_of_another_opset_is_written_out_where_its_operators_mean_the_same() -> None:
    model = with_functions(opset=17, inner=16)
    assert len(weight_layers(import_model(model).normalized.proto)) == 3


def test_a_function_whose_operators_mean_something_else_stays_and_is_named() -> None:
    model = with_functions(opset=17, inner=13)
    model.functions[0].node.append(N("BatchNormalization", ["x", "w", "w", "w", "w"], ["unused"]))
    after = import_model(model).normalized.proto
    assert "Layer" in [function.name for function in after.functions]
    assert {node.op_type for node in after.graph.node} == {"Layer"}
    assert "inside the function Layer" in weightless_notes(after)[0]


@pytest.mark.parametrize("make", [with_functions, in_branches])
def test_pruned_weights_of_functions_and_branches_find_their_place(make: object) -> None:
    model = make()  # type: ignore[operator]
    imported = import_model(model)
    ticket = pruned(imported.normalized)
    changed = changed_weights(imported, ticket)
    assert len(changed) == 3
    reference = original_with_weights(imported, changed)
    for flag in (True, False):
        feeds = {**FEEDS, "flag": np.array(flag)} if make is in_branches else FEEDS
        assert near(run(ticket.proto, feeds), run(reference, feeds))
        assert not near(run(ticket.proto, feeds), run(model, feeds))


def test_weights_of_branches_are_layers() -> None:
    model = in_branches()
    for flag in (True, False):
        after = holds(model, {**FEEDS, "flag": np.array(flag)}, near)
    layers = weight_layers(after)
    assert sorted(layer.uses for layer in layers) == [1, 1, 2]
    assert {layer.obstacle for layer in layers} == {None}


def with_inputs(ir_version: int) -> ModelProto:
    """A model whose weights are inputs of the graph as well."""
    nodes = [conv("x", "w", "a"), N("Mul", ["a", "gain"], ["y"])]
    model = as_model(nodes, FEEDS, ["y"], 9 if ir_version < 4 else 17, w=W, gain=np.float32(2))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, W.shape))
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, []))
    model.ir_version = ir_version
    return model


def test_initializers_of_old_files_are_constants_without_a_word() -> None:
    after = import_model(with_inputs(3), keep_inputs=True)
    assert [value.name for value in after.normalized.proto.graph.input] == ["x"]
    assert not any("graph inputs" in note for note in after.notes)
    assert weight_layers(after.normalized.proto)[0].obstacle is None


def test_inputs_with_a_default_value_are_frozen_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = with_inputs(8)
    with caplog.at_level(logging.INFO):
        imported = import_model(model)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "graph inputs with a default value are constants now, which --keep-inputs refuses: w, gain" in message
    assert [value.name for value in imported.normalized.proto.graph.input] == ["x"]
    assert near(run(model, FEEDS), run(imported.normalized.proto, FEEDS))
    assert weight_layers(imported.normalized.proto)[0].obstacle is None


def test_inputs_are_kept_where_that_is_asked_for() -> None:
    imported = import_model(with_inputs(8), keep_inputs=True)
    assert [value.name for value in imported.normalized.proto.graph.input] == ["x", "w", "gain"]
    (layer,) = weight_layers(imported.normalized.proto)
    assert "a caller may replace it" in str(layer.obstacle)
    # Passes that normalize once more do not freeze them either.
    assert normalize(imported.normalized.proto) == imported.normalized
