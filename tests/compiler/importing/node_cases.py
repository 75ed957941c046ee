"""ONNX's own examples of single operators, written in the opsets of old."""

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.model.opset import standard_opset

SLOW = ("attention", "averagepool", "causal", "flexattention", "image_decoder", "linear_attention", "lppool", "maxpool")
"""Modules that take seconds to make their examples; pools are among the models of our own."""

RANDOM = ("Bernoulli", "Dropout_training", "Multinomial", "Random")

INPUT_OF_ATTRIBUTE = {"constant_value": "value", "K": "k"}
"""Attributes that have another name as an input."""


@dataclass(frozen=True)
class Example:
    """A model of a few nodes with inputs for it."""

    name: str
    model: ModelProto
    feeds: Mapping[str, Any]

    @property
    def operator(self) -> str:
        return str(self.model.graph.node[0].op_type)


@cache
def examples() -> tuple[Example, ...]:
    """All of one standard operator whose inputs are tensors, in the newest opset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the divisions by zero that are examples
        return tuple(_collected())


def _collected() -> Iterator[Example]:
    for module in pkgutil.iter_modules(node_cases.__path__):
        if not module.name.startswith(SLOW):
            importlib.import_module(f"{node_cases.__name__}.{module.name}")
    for case in list(node_cases._NodeTestCases):
        if (
            case.model is None
            or not case.data_sets
            or len(case.model.graph.node) != 1
            or case.model.graph.node[0].domain
        ):
            continue
        inputs = case.data_sets[0][0]
        names = [value.name for value in case.model.graph.input]
        tensors = all(isinstance(value, np.ndarray | np.generic) for value in inputs)
        if tensors and len(names) == len(inputs) and not case.model.graph.node[0].op_type.startswith(RANDOM):
            feeds = dict(zip(names, map(np.asarray, inputs), strict=True))
            yield Example(case.name, case.model, feeds)


def distinct_versions(operator: str, last: int) -> list[int]:
    """From 7 on the last opset of each version of an operator, up to `last`: all opsets between are the same."""
    since = {}
    for opset in range(7, last + 1):
        try:
            since[onnx.defs.get_schema(operator, opset, "").since_version] = opset
        except onnx.defs.SchemaError:
            continue
    return list(since.values())


def in_opset(example: Example, opset: int) -> Example | None:
    """The example as it was written in an older opset; None where it could not be."""
    model = ModelProto()
    model.CopyFrom(example.model)
    node, feeds = model.graph.node[0], dict(example.feeds)
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    newest = onnx.defs.get_schema(node.op_type)
    places = [one.name for one in newest.inputs]
    if not _to_attributes(node, feeds, places, schema):
        return None
    known = schema.attributes
    for one in list(node.attribute):
        if one.name not in known:
            return None
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = 8
    kept = [value for value in model.graph.input if value.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return Example(f"{example.name}-{opset}", model, feeds)


def _to_attributes(node: NodeProto, feeds: dict[str, Any], places: list[str], schema: Any) -> bool:
    """Turn inputs that were attributes once into such; whether all of them could be."""
    kept = []
    expected = [one.name for one in schema.inputs]
    variadic = bool(schema.inputs) and schema.inputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic
    for place, name in enumerate(node.input):
        formal = places[min(place, len(places) - 1)]
        attribute = INPUT_OF_ATTRIBUTE.get(formal, formal)
        if formal in expected or place == 0 or (variadic and place >= len(expected) - 1):
            kept.append(name)
        elif attribute in schema.attributes and name in feeds:
            value = feeds.pop(name)
            kind = schema.attributes[attribute].type
            plain = value.reshape(-1).tolist()
            if not plain:
                return False
            single = kind in (onnx.defs.OpSchema.AttrType.INT, onnx.defs.OpSchema.AttrType.FLOAT)
            node.attribute.append(helper.make_attribute(attribute, plain[0] if single else plain))
        elif name:
            return False
    node.input[:] = kept
    return True


def as_model(
    nodes: list[NodeProto], feeds: Mapping[str, Any], outputs: list[str], opset: int, **tensors: Any
) -> ModelProto:
    """A model of `nodes` in an opset; shapes of inputs are those of `feeds`, outputs are floats."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "graph", inputs, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    a, b = np.asarray(first), np.asarray(second)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def near(first: Any, second: Any) -> bool:
    """Of lists of tensors: equal up to the order of sums, which ONNX Runtime chooses by what it knows of weights."""
    pairs = list(zip(first, second, strict=True))
    bounds = [1e-5 * max(1.0, float(np.abs(a).max(initial=0))) for a, _ in pairs]
    return all(a.shape == b.shape and np.abs(a - b).max() <= most for (a, b), most in zip(pairs, bounds, strict=True))


def holds(
    model: ModelProto, feeds: Mapping[str, Any], same: Callable[[list[Any], list[Any]], bool] = equal
) -> ModelProto:
    """Import a model, compare it with itself, and return what became of it."""
    before = run(model, feeds)
    imported = import_model(model)
    assert standard_opset(imported.normalized.proto) >= 13
    assert same(before, run(imported.normalized.proto, feeds))
    return imported.normalized.proto
