"""Quantized layers outside of regions get their conversions back, where a region has taken them.

No quantized tensor crosses the boundary of a region, so a region begins and ends with conversions that a neighbor needs
too: a stock runtime computes a layer in int8 only where it stands between a DequantizeLinear and a QuantizeLinear.
Another pair of conversions with the same scale changes no value.
"""

from collections.abc import Iterable, Mapping, Sequence

from onnx import NodeProto, helper

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE, DEQUANTIZE_LINEAR, QUANTIZE, QUANTIZE_LINEAR
from lth_deploy.compiler.regions.partition.cut import Cut


def restore_qdq(nodes: Sequence[NodeProto], calls: Sequence[tuple[Cut, NodeProto]]) -> list[NodeProto]:
    """The nodes, with the conversions that layers outside of regions miss; who reads those gets another input.

    nodes: of a whole graph. calls: each region with its node, which is one of them.
    """
    makers = {name: node for node in nodes for name in node.output}
    added: list[NodeProto] = []
    for region_cut, call in calls:
        for name, grid in _read(region_cut).items():
            if _is_quantized_but_for_output(makers.get(name), makers):
                added += _pair(name, grid, [call], makers)
    for region_cut, _ in calls:
        for name, grid in _returned(region_cut).items():
            layers = [node for node in nodes if node.input[:1] == [name] and _has_quantized_weight(node, makers)]
            if layers:
                added += _pair(name, grid, layers, makers)
    return [*nodes, *added]


def _read(region_cut: Cut) -> dict[str, NodeProto]:
    """Inputs that a region does nothing with but quantize them with one scale, each with the QuantizeLinear."""
    found: dict[str, NodeProto] = {}
    for name in region_cut.inputs:
        readers = [op for op in region_cut.ops if name in op.inputs]
        grids = {tuple(op.nodes[0].input[1:]) for op in readers}
        if len(grids) == 1 and all(op.kind is QUANTIZE for op in readers):
            found[name] = readers[0].nodes[0]
    return found


def _returned(region_cut: Cut) -> dict[str, NodeProto]:
    """Outputs that a region dequantizes last, each with the DequantizeLinear."""
    dequantizing = [op for op in region_cut.ops if op.kind is DEQUANTIZE]
    return {op.outputs[0]: op.nodes[0] for op in dequantizing if op.outputs[0] in region_cut.outputs}


def _is_quantized_but_for_output(node: NodeProto | None, makers: Mapping[str, NodeProto]) -> bool:
    """Whether a node, or the one before an activation, is a quantized layer that only lacks a QuantizeLinear."""
    if node is not None and traits_of(node.op_type).clamps:
        node = makers.get(node.input[0])
    return node is not None and _has_quantized_weight(node, makers) and _is_dequantized(node.input[0], makers)


def _has_quantized_weight(node: NodeProto, makers: Mapping[str, NodeProto]) -> bool:
    return traits_of(node.op_type).float_layer and _is_dequantized(node.input[1], makers)


def _is_dequantized(name: str, makers: Mapping[str, NodeProto]) -> bool:
    return name in makers and makers[name].op_type == DEQUANTIZE_LINEAR


def _pair(
    name: str, grid: NodeProto, readers: Iterable[NodeProto], makers: Mapping[str, NodeProto]
) -> tuple[NodeProto, NodeProto]:
    """A pair of conversions with a given scale, between a tensor and some of its readers."""
    quantized, dequantized = f"{name}.bytes", f"{name}.on_grid"
    while quantized in makers or dequantized in makers:
        quantized, dequantized = f"{quantized}_", f"{dequantized}_"
    for node in readers:
        node.input[:] = [dequantized if given == name else given for given in node.input]
    scale = list(grid.input[1:])
    return (
        helper.make_node(QUANTIZE_LINEAR, [name, *scale], [quantized], quantized),
        helper.make_node(DEQUANTIZE_LINEAR, [quantized, *scale], [dequantized], dequantized),
    )
