"""Model-local functions are counted before anything inlines them."""

import time
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.model.inlined_size import MAX_CALL_DEPTH, MAX_NODES, check_inlined_size, inlined_size
from lth_deploy.errors import ArtifactError

LOCAL = "local"
OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid(LOCAL, 1)]


def function(name: str, nodes: list[NodeProto], attributes: list[str] | None = None) -> FunctionProto:
    return helper.make_function(LOCAL, name, ["x"], ["y"], nodes, OPSETS, attributes or [])


def call(name: str, source: str = "x", target: str = "y", **attributes: object) -> NodeProto:
    return helper.make_node(name, [source], [target], domain=LOCAL, **attributes)


def model(functions: list[FunctionProto], nodes: list[NodeProto]) -> ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "calls", value[:1], value[1:])
    return helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=9)


def doubling(levels: int) -> ModelProto:
    functions = [function("F0", [helper.make_node("Relu", ["x"], ["y"])])]
    for level in range(1, levels + 1):
        below = f"F{level - 1}"
        functions.append(function(f"F{level}", [call(below, "x", "h"), call(below, "h", "y")]))
    return model(functions, [call(f"F{levels}")])


@pytest.mark.parametrize("levels", [0, 1, 5, 10])
def test_the_count_is_what_onnx_inlines(levels: int) -> None:
    made = doubling(levels)
    inlined = onnx.inliner.inline_local_functions(made)
    assert inlined_size(made).nodes == len(inlined.graph.node) == 2**levels
    check_inlined_size(made)


def test_functions_that_double_are_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "doubling.onnx"
    file.write_bytes(doubling(40).SerializeToString())
    assert file.stat().st_size < 6000
    start = time.process_time()
    with pytest.raises(ArtifactError, match=rf"1099511627776 nodes when .* at most {MAX_NODES} are allowed"):
        load_model(file)
    assert time.process_time() - start < 2


def test_a_function_that_nobody_calls_is_counted_too() -> None:
    made = doubling(30)
    made.graph.node[0].CopyFrom(helper.make_node("Relu", ["x"], ["y"]))
    made.graph.node[0].domain = ""
    with pytest.raises(ArtifactError, match="nodes when its functions are inlined"):
        check_inlined_size(made)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_recursion_is_refused(length: int) -> None:
    functions = [function(f"F{i}", [call(f"F{(i + 1) % length}")]) for i in range(length)]
    with pytest.raises(ArtifactError, match="calls itself"):
        check_inlined_size(model(functions, [call("F0")]))


@pytest.mark.parametrize("from_the_bottom", [False, True])
def test_long_chains_of_calls_are_refused(from_the_bottom: bool) -> None:
    def chain(length: int) -> ModelProto:
        functions = [function("F0", [helper.make_node("Relu", ["x"], ["y"])])]
        functions += [function(f"F{i}", [call(f"F{i - 1}")]) for i in range(1, length)]
        numbers = range(length) if from_the_bottom else [length - 1]
        return model(functions, [call(f"F{number}", "x", f"y{number}") for number in numbers])

    check_inlined_size(chain(MAX_CALL_DEPTH))
    with pytest.raises(ArtifactError, match="call one another in a row"):
        check_inlined_size(chain(MAX_CALL_DEPTH + 1))


def test_calls_inside_if_bodies_count_and_nest() -> None:
    def branching(inner: str) -> NodeProto:
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [1])
        branch = helper.make_graph([call(inner, "x", "r")], "branch", [], [result])
        return helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)

    def nested(levels: int) -> ModelProto:
        functions = [function("F0", [helper.make_node("Relu", ["x"], ["y"])])]
        functions += [function(f"F{i}", [branching(f"F{i - 1}")]) for i in range(1, levels + 1)]
        return model(functions, [call(f"F{levels}")])

    size = inlined_size(nested(10))
    assert size.depth == 10
    assert size.nodes == 2**10 + sum(2**level for level in range(10))
    check_inlined_size(nested(10))
    with pytest.raises(ArtifactError, match="nested deeper than 16"):
        check_inlined_size(nested(17))


def test_bytes_are_bounded_where_nodes_are_few() -> None:
    weights = numpy_helper.from_array(np.zeros(1 << 20, np.uint8))
    functions = [function("F0", [helper.make_node("Constant", [], ["y"], value=weights)])]
    for level in range(1, 12):
        functions.append(function(f"F{level}", [call(f"F{level - 1}", "x", "h"), call(f"F{level - 1}", "h", "y")]))
    with pytest.raises(ArtifactError, match="bytes when their functions are inlined"):
        check_inlined_size(model(functions, [call("F11")]))


def test_an_attribute_that_many_nodes_refer_to_counts_as_often() -> None:
    def referring(count: int) -> list[NodeProto]:
        nodes = []
        for number in range(count):
            node = helper.make_node("Constant", [], [f"y{number}" if number else "y"])
            node.attribute.add(name="value", ref_attr_name="big", type=onnx.AttributeProto.TENSOR)
            nodes.append(node)
        return nodes

    outer = call("Inner", "x", "y")
    outer.attribute.add(name="big", ref_attr_name="huge", type=onnx.AttributeProto.TENSOR)
    functions = [function("Inner", referring(2000), ["big"]), function("Outer", [outer] * 2, ["huge"])]
    weights = numpy_helper.from_array(np.zeros(1 << 20, np.uint8))
    size = inlined_size(model(functions, [call("Outer", huge=weights)]))
    assert size.nodes == 4000
    assert size.bytes > 4000 << 20
    defaults = [*functions]
    defaults[0] = function("Inner", referring(2000))
    defaults[0].attribute_proto.add().CopyFrom(helper.make_attribute("big", weights))
    assert inlined_size(model(defaults[:1], [call("Inner")])).bytes > 2000 << 20


def test_a_function_may_not_be_defined_twice() -> None:
    one = function("F0", [helper.make_node("Relu", ["x"], ["y"])])
    with pytest.raises(ArtifactError, match="F0 appears twice"):
        check_inlined_size(model([one, one], [call("F0")]))
