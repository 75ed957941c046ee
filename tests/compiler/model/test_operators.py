"""The table of operator traits: it is the only list of operators, and what it says holds in ONNX and ONNX Runtime."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import lth_deploy
from lth_deploy.arrays import Array
from lth_deploy.compiler.model.operators import OPERATORS, operators_with, traits_of

PACKAGE = Path(lth_deploy.__file__).parent
CONTRIB = frozenset(["FusedConv", "FusedGemm", "FusedMatMul", "QGemm", "ReorderInput", "ReorderOutput"])
"""Operators of ONNX Runtime that are none of ONNX."""
NAMES = {schema.name for schema in onnx.defs.get_all_schemas_with_history()} | CONTRIB
Lists = dict[str, list[tuple[int, list[str]]]]
MOST = 2
"""Operators that code may name beside each other: a pair such as QuantizeLinear and DequantizeLinear."""

EXEMPT = {
    "compiler/model/operators.py": "the table",
    "compiler/importing/plain/bins.py": "the nodes of one form, in their order",
    "compiler/importing/opsets.py": "one adapter for each operator and version",
    "compiler/one_shot/channel_operands.py": "one function for each operator",
    "compiler/regions/analysis/value_rules.py": "one value rule for each operator",
    "compiler/regions/match/activations.py": "one matching function for each operator",
    "compiler/regions/ops/conv.py": "one function for each operator",
    "compiler/regions/ops/same.py": "one function for each operator",
    "workflow/measure_costs/probe_graph.py": "the activations that are timed",
}


def _lists(source: str) -> Iterator[tuple[int, list[str]]]:
    """Line and names of every literal, `or` of comparisons, and text that lists operators."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            parts: list[Any] = list(node.elts)
        elif isinstance(node, ast.Dict):
            parts = list(node.keys)
        elif isinstance(node, ast.BoolOp):
            compared = [value for value in node.values if isinstance(value, ast.Compare)]
            parts = [other for value in compared for other in value.comparators]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.split()
            if len(words) > MOST and NAMES.issuperset(words):
                yield node.lineno, words
            continue
        else:
            continue
        names = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        found = sorted(NAMES.intersection(names))
        if len(found) > MOST:
            yield node.lineno, found


@pytest.fixture(scope="module")
def found() -> Lists:
    """Every file of the package that lists operators. Reading them all takes seconds: not while tests are collected."""
    lists = {
        str(file.relative_to(PACKAGE)): list(_lists(file.read_text(encoding="utf-8")))
        for file in sorted(PACKAGE.rglob("*.py"))
    }
    return {name: lines for name, lines in lists.items() if lines}


def test_operators_are_listed_in_the_table_alone(found: Lists) -> None:
    assert {name: lists for name, lists in found.items() if name not in EXEMPT} == {}, "add a trait to the table"


def test_no_file_is_exempt_without_a_list(found: Lists) -> None:
    assert found.keys() >= EXEMPT.keys()


@pytest.mark.parametrize(
    "source",
    [
        '_LAYERS = ("Conv", "Gemm", "MatMul")',
        'rule = dict.fromkeys({"Relu", "Clip", "Tanh"}, 1)',
        'TABLE = {"Relu": 1, "Clip": 2, "Tanh": 3}',
        'found = node.op_type == "Relu" or node.op_type == "Clip" or node.op_type == "Tanh"',
        '_MOVED = "Slice Split Concat".split()',
    ],
)
def test_the_law_sees_lists_of_every_form(source: str) -> None:
    assert len(list(_lists(source))) == 1


def test_every_row_is_an_operator() -> None:
    assert OPERATORS.keys() - NAMES == set()
    assert not any((traits_of("NoOperator").has_weight, traits_of("NoOperator").view))


def _inputs(name: str) -> list[Any]:
    return list(onnx.defs.get_schema(name).inputs)


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - CONTRIB))
def test_places_and_types_are_those_of_the_specification(name: str) -> None:
    traits, inputs = traits_of(name), _inputs(name)
    if traits.weight_input is not None:
        assert inputs[traits.weight_input].name.lower().removesuffix("_") in ("w", "b")
    if traits.float_layer:
        assert traits.weight_input == 1
        assert inputs[1].type_str == inputs[0].type_str
    if traits.bias_input is not None:
        assert inputs[traits.bias_input].option == onnx.defs.OpSchema.FormalParameterOption.Optional
    assert all(place < len(inputs) for place in (*traits.parameter_inputs, *traits.float_inputs) if not traits.joins)
    if traits.follows_widening and traits.joins:
        variadic = inputs[0].option == onnx.defs.OpSchema.FormalParameterOption.Variadic
        assert variadic or [each.type_str for each in inputs] == [inputs[0].type_str] * 2
    elif traits.follows_widening and name != "BatchNormalization":  # which has a type for statistics of their own
        same = tuple(place for place, each in enumerate(inputs) if each.type_str == inputs[0].type_str)
        assert traits.float_inputs == same
    if traits.first_output_only:
        outputs = onnx.defs.get_schema(name).outputs
        assert all(other.type_str != outputs[0].type_str for other in outputs[1:])


SHAPE = (1, 3, 4, 6)
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "MaxPool": {"kernel_shape": [2, 2]},
    "AveragePool": {"kernel_shape": [2, 2]},
    "Cast": {"to": TensorProto.FLOAT},
}
CONSTANTS: dict[str, dict[str, Array]] = {
    "Resize": {"": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)},
    "Reshape": {"shape": np.array([3, 24])},
    "Squeeze": {"axes": np.array([0])},
    "Unsqueeze": {"axes": np.array([0])},
    "Clip": {"low": np.float32(-0.5), "high": np.float32(0.5)},
    "QuantizeLinear": {"scale": np.float32(0.1)},
    "PRelu": {"slope": np.float32(0.1)},
}


def _run(name: str, x: Array) -> Array:
    """The first output of a node of its own."""
    constants = CONSTANTS.get(name, {})
    node = helper.make_node(name, ["x", *constants], ["y"], **ATTRIBUTES.get(name, {}))
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items() if key]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))
    graph = helper.make_graph([node], name, [given], [onnx.ValueInfoProto(name="y")], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def _image() -> Array:
    return np.random.default_rng(0).uniform(-2, 2, SHAPE).astype(np.float32)


NORMS = frozenset(operators_with(lambda traits: len(traits.parameter_inputs) >= 2)) - {"QuantizeLinear"}


@pytest.mark.parametrize("name", sorted(set(operators_with(lambda traits: traits.keeps_shape)) - NORMS))
def test_operators_that_keep_the_shape_do(name: str) -> None:
    assert _run(name, np.abs(_image()) + 1).shape == SHAPE


@pytest.mark.parametrize("name", operators_with(lambda traits: traits.view))
def test_views_have_the_elements_of_their_input(name: str) -> None:
    assert sorted(_run(name, _image()).reshape(-1)) == sorted(_image().reshape(-1))


@pytest.mark.parametrize("name", operators_with(lambda traits: traits.keeps_zero_channels))
def test_operators_that_keep_zero_channels_take_each_channel_from_the_same_one(name: str) -> None:
    x, other = _image(), _image()
    x[:, 1] = other[:, 1] = 0
    other[:, 0] += 1
    found, changed = _run(name, x), _run(name, other)
    assert not found[:, 1].any()
    assert found[:, 0].any()
    np.testing.assert_array_equal(found[:, 1:], changed[:, 1:])


@pytest.mark.parametrize("name", operators_with(lambda traits: traits.keeps_range or traits.clamps))
def test_operators_that_keep_the_range_make_nothing_outside_of_it(name: str) -> None:
    x = _image()
    found = _run(name, x)
    assert found.min() >= x.min()
    assert found.max() <= x.max()


@pytest.mark.parametrize("name", operators_with(lambda traits: traits.elementwise and traits.keeps_shape))
def test_elementwise_operators_look_at_one_place(name: str) -> None:
    x = np.abs(_image()) + 1
    changed = x.copy()
    changed[0, 1, 2, 3] += 5
    same = _run(name, x) == _run(name, changed)
    assert same.sum() >= x.size - 1


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - CONTRIB))
def test_inputs_that_carry_features_exist(name: str) -> None:
    places = traits_of(name).feature_inputs
    assert places is None or all(place < len(_inputs(name)) for place in places)
