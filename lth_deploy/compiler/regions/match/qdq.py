"""QuantizeLinear and DequantizeLinear nodes: what they say of a tensor, and a graph where no two layers share one."""

from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.products import short
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE, DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, RegionOp
from lth_deploy.kernels.program.limits import SCALES
from lth_deploy.kernels.program.values import Quantized

LOWEST = float(np.finfo(np.float32).min)
"""Bound of the Max that keeps runtimes from quantizing a layer that is left in floats."""


def quantized_of(node: NodeProto, info: TensorInfo) -> Quantized:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear of activations.

    Raises:
        NoMatch: they are not constant, or the tensor is not uint8 with one scale.
    """
    scale = _single(info, node.input[1], "its activations have no single constant scale")
    zero: Array = np.zeros(1, np.uint8)
    if len(node.input) > 2 and node.input[2]:
        zero = _single(info, node.input[2], "its activations have no single constant zero point")
    require(zero.dtype == np.uint8, f"its activations are {zero.dtype}; kernels take uint8")
    value = float(scale.reshape(-1)[0])
    low, high = SCALES
    require(low <= value <= high, f"its activations have the scale {value:g}")
    return Quantized(short(value), int(zero.reshape(-1)[0]))


def _single(info: TensorInfo, name: str, reason: str) -> Array:
    found = info.constant(name)
    return require(found if found is not None and found.size == 1 else None, reason)


def separated(model: ModelProto, dequantized: Container[str]) -> ModelProto:
    """The model with DequantizeLinears of its own for every node; the model itself where nothing is quantized.

    dequantized: the operators whose nodes get them. Zero points of constants that are zero are dropped, since runtimes
    assume them; but not those of the weights of a Gemm: ONNX Runtime multiplies floats where they have none.
    """
    if not any(node.op_type == QUANTIZE_LINEAR for node in model.graph.node):
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    _lift_scales(changed)
    makers = {node.output[0]: node for node in graph.node if node.op_type == DEQUANTIZE_LINEAR}
    reads = Counter(name for inner in all_graphs(graph) for node in inner.node for name in node.input)
    reads.update(value.name for inner in all_graphs(graph) for value in inner.output)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type in dequantized:
            for place, name in enumerate(node.input):
                if name in makers and reads[name] > 1:
                    own = NodeProto()
                    own.CopyFrom(makers[name])
                    # A node may read one tensor twice, such as x + x.
                    again = f".{place}" if f"{name}.for.{node.output[0]}" in node.input else ""
                    own.output[0] = f"{name}.for.{node.output[0]}{again}"
                    own.name = f"{own.name}.for.{node.output[0]}{again}"
                    reads[name] -= 1
                    nodes.append(own)
                    node.input[place] = own.output[0]
        nodes.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    _drop_zeros(changed)
    return changed


def _lift_scales(model: ModelProto) -> None:
    """Make initializers of Constant nodes that scales and zero points come from."""
    wanted = {
        name
        for node in model.graph.node
        if node.op_type in (QUANTIZE_LINEAR, DEQUANTIZE_LINEAR)
        for name in node.input[1:]
    }
    kept = []
    for node in model.graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and node.output[0] in wanted and value is not None:
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(kept)


def rejoined(model: ModelProto, ops: Sequence[RegionOp]) -> ModelProto | None:
    """The model without copies of a DequantizeLinear that are ops of their own; None without any."""
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    returned = {value.name for inner in all_graphs(model.graph) for value in inner.output}
    conversions = [op for op in ops if op.kind is DEQUANTIZE]
    for op in sorted(conversions, key=lambda op: op.outputs[0] not in returned):
        name = op.outputs[0]
        kept = first.setdefault(op.inputs[0], name)
        if kept != name and name not in returned:
            same[name] = kept
    if not same:
        return None
    joined = ModelProto()
    joined.CopyFrom(model)
    graph = joined.graph
    # The one that stays may stand behind a reader of another: all of them go to the front of their first.
    places = {name: i for i, node in enumerate(graph.node) for name in node.output}
    nodes = list(graph.node)
    rank = {id(node): float(i) for i, node in enumerate(nodes)}
    for name, kept in same.items():
        keeper = nodes[places[kept]]
        rank[id(keeper)] = min(rank[id(keeper)], places[name])
    ordered = [node for node in sorted(nodes, key=lambda node: rank[id(node)]) if node.output[0] not in same]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
    for node in copies:
        node.input[:] = [same.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(copies)
    return joined


def is_float_barrier(node: NodeProto, info: TensorInfo) -> bool:
    """Whether a node is the Max with the lowest float that keeps runtimes from quantizing a layer left float."""
    bound = info.constant(node.input[1]) if node.op_type == "Max" and len(node.input) == 2 else None
    return bound is not None and bound.size == 1 and float(bound.reshape(-1)[0]) <= LOWEST


def _drop_zeros(model: ModelProto) -> None:
    """Leave zero points of int8 and int32 constants out where they are zero, and no Gemm multiplies them."""
    multiplied = {node.input[1] for node in model.graph.node if node.op_type == "Gemm"}
    overridable = {value.name for value in model.graph.input}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in overridable}
    zero: dict[str, bool] = {}
    for node in model.graph.node:
        if node.op_type != DEQUANTIZE_LINEAR or node.output[0] in multiplied:
            continue
        if len(node.input) == 3 and node.input[2] in tensors:
            tensor = tensors[node.input[2]]
            if tensor.data_type not in (TensorProto.INT8, TensorProto.INT32):
                continue
            if tensor.name not in zero:
                zero[tensor.name] = not np.any(numpy_helper.to_array(tensor))
            if zero[tensor.name]:
                del node.input[2:]
