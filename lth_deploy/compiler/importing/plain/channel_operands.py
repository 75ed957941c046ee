"""Differences from a constant of channels, and quotients by one, as sums and products, which regions compute.

Exporters that keep preprocessing in the graph write (image - mean) / deviation. A sum of the negative is the same in
every bit; a product with the reciprocal is rounded once more.
"""

import numpy as np
from onnx import ModelProto, NodeProto, helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard

_WRITTEN_AS = {"Sub": "Add", "Div": "Mul"}


def add_and_multiply(model: ModelProto) -> int:
    """Write, in place, each Sub and Div by such a constant as Add and Mul; how many."""
    if not any(standard(node, *_WRITTEN_AS) for node in model.graph.node):
        return 0
    graph = MainGraph(model)
    nodes = [_rewritten(graph, node) for node in graph.nodes]
    count = sum(new is not old for new, old in zip(nodes, graph.nodes, strict=True))
    if count:
        put_nodes(model, nodes)
    return count


def _rewritten(graph: MainGraph, node: NodeProto) -> NodeProto:
    has_both = standard(node, *_WRITTEN_AS) and len(node.input) == 2
    constant = graph.floats(node.input[1]) if has_both else None
    if constant is None or not _is_of_channels(constant):
        return node
    with np.errstate(all="ignore"):
        operand = -constant if node.op_type == "Sub" else (1 / constant.astype(np.float64)).astype(np.float32)
    if not np.isfinite(operand).all():
        return node
    name = graph.add(f"{node.input[1]}.{_WRITTEN_AS[node.op_type].lower()}", operand)
    return helper.make_node(_WRITTEN_AS[node.op_type], [node.input[0], name], list(node.output), node.name)


def _is_of_channels(constant: Array) -> bool:
    """Whether it has one value for each channel of [N, C, H, W], and more than one."""
    return (
        constant.size > 1
        and constant.shape[-2:] == (1, 1)
        and constant.shape
        in (
            (constant.size, 1, 1),
            (1, constant.size, 1, 1),
        )
    )
