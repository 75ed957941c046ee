"""TensorInfo of all tensors of a graph as expressions, and the integers that are computed from them."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.regions.analysis.symbolic_dims import named, of
from lth_deploy.compiler.regions.analysis.tensor_info import SMALL, Shape, ShapeRule, TensorInfo, note_constant
from lth_deploy.compiler.regions.analysis.value_rules import VALUE_RULES


def infer(
    graph: GraphProto,
    weights: Mapping[str, tuple[int, ...]],
    rules: Mapping[str, ShapeRule],
    tokens: Mapping[str, Shape] = MappingProxyType({}),
) -> TensorInfo:
    """What is known of a graph whose stored weights have the given shapes.

    Args:
        graph: of a model.
        weights: shapes of stored weights.
        rules: by operator.
        tokens: shapes of tokens that are known beforehand; a rule that says more of one counts.
    """
    info = TensorInfo(shapes=dict(tokens))
    for name, dims in weights.items():
        info.shapes[name] = tuple(of(dim) for dim in dims)
    for tensor in graph.initializer:
        info.shapes[tensor.name] = tuple(of(int(dim)) for dim in tensor.dims)
        note_constant(info, tensor.name, tensor)
    known = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in known and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            # A named dimension is one size wherever it appears.
            info.shapes[value.name] = tuple(
                of(int(d.dim_value)) if d.dim_value else named(d.dim_param or f"{value.name}.{i}")
                for i, d in enumerate(dims)
            )
    for node in graph.node:
        _visit(info, node, rules)
    # A layer says which rank its input has; conversions in front of it pass that on, up and then down.
    conversions = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in reversed(conversions):
        if node.output[0] in info.shapes:
            info.shapes.setdefault(node.input[0], info.shapes[node.output[0]])
    for node in conversions:
        if node.input[0] in info.shapes:
            info.shapes.setdefault(node.output[0], info.shapes[node.input[0]])
    return info


def _visit(info: TensorInfo, node: NodeProto, rules: Mapping[str, ShapeRule]) -> None:
    if node.domain not in STANDARD_DOMAINS or not node.output:
        return
    if node.op_type == "Constant":
        _constant(info, node)
        return
    if traits_of(node.op_type).keeps_shape and node.input[0] in info.shapes:
        info.shapes[node.output[0]] = info.shapes[node.input[0]]
        if node.op_type == "Cast" and attribute(node, "to") not in (TensorProto.INT64, TensorProto.INT32):
            return
    rule = rules.get(node.op_type)
    if rule is not None:
        made = rule(info, node)
        if made is not None:
            info.shapes.update(zip(node.output, made, strict=False))
    values = VALUE_RULES.get(node.op_type)
    if values is not None:
        found = values(info, node)
        if found is not None and len(found) <= SMALL:
            info.values[node.output[0]] = found


def _constant(info: TensorInfo, node: NodeProto) -> None:
    name = node.output[0]
    for one in node.attribute:
        if one.name == "value":
            info.shapes[name] = tuple(of(int(dim)) for dim in one.t.dims)
            note_constant(info, name, one.t)
        elif one.name in ("value_int", "value_ints", "value_float", "value_floats"):
            tensor = numpy_helper.from_array(np.asarray(helper.get_attribute_value(one)), name)
            info.shapes[name] = tuple(of(int(dim)) for dim in tensor.dims)
            note_constant(info, name, tensor)
