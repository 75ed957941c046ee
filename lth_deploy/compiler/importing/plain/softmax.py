"""Softmax over channels and a product with fixed numbers, as DFL has it, moved to the last axis.

Exporters write the mean of a distribution over bins as Transpose, Softmax over axis 1, and a 1x1 convolution with one
output. ONNX Runtime transposes inside of such a Softmax, twice; over the last axis it need not, and computes the same.
"""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.importing.plain.pads import own_pads
from lth_deploy.compiler.model.attributes import attribute

_LAST = [0, 2, 3, 1]
"""Brings the channels of a plane to the last axis."""


@dataclass(frozen=True)
class _Mean:
    """transpose: the node before the Softmax, or None. weights: [bins]."""

    transpose: NodeProto | None
    softmax: NodeProto
    convolution: NodeProto
    weights: Array


def rewrite_softmax(model: ModelProto) -> int:
    """Rewrite, in place, each that nothing else reads; how many."""
    if not any(standard(node, "Softmax") for node in model.graph.node):
        return 0
    graph = MainGraph(model)
    found = [mean for node in graph.nodes if standard(node, "Softmax") and (mean := _mean(graph, node)) is not None]
    if not found:
        return 0
    gone: set[int] = set()
    instead: dict[int, list[NodeProto]] = {}
    for mean in found:
        gone |= {id(node) for node in (mean.transpose, mean.softmax) if node is not None}
        instead[id(mean.convolution)] = _on_last_axis(graph, mean)
    nodes = [one for node in graph.nodes if id(node) not in gone for one in instead.get(id(node), [node])]
    put_nodes(model, nodes)
    return len(found)


def _mean(graph: MainGraph, softmax: NodeProto) -> _Mean | None:
    convolution = graph.only_reader(softmax.output[0])
    weights = None if convolution is None else weights_of_mean(graph, convolution, softmax)
    if convolution is None or weights is None or attribute(softmax, "axis", -1) not in (1, -3):
        return None
    before = graph.makers.get(softmax.input[0])
    if before is not None and graph.only_reader(softmax.input[0]) is softmax and standard(before, "Transpose"):
        perm = attribute(before, "perm", None)
        if perm is not None and sorted(perm) == [0, 1, 2, 3]:
            return _Mean(before, softmax, convolution, weights)
    return _Mean(None, softmax, convolution, weights)


def weights_of_mean(graph: MainGraph, convolution: NodeProto, softmax: NodeProto) -> Array | None:
    """The fixed numbers of a 1x1 convolution with one output, which reads what a Softmax makes; None of others."""
    if not standard(convolution, "Conv") or convolution.input[0] != softmax.output[0]:
        return None
    weights = graph.floats(convolution.input[1])
    biased = len(convolution.input) > 2 and convolution.input[2]
    if weights is None or weights.shape[:1] + weights.shape[2:] != (1, 1, 1) or biased:
        return None
    moved = any(own_pads(convolution, 2) or [1]) or any(step != 1 for step in attribute(convolution, "strides", []))
    return None if moved or attribute(convolution, "group", 1) != 1 else weights.reshape(-1)


def _on_last_axis(graph: MainGraph, mean: _Mean) -> list[NodeProto]:
    source, perm = mean.softmax.input[0], _LAST
    if mean.transpose is not None:
        own = list(attribute(mean.transpose, "perm"))
        source, perm = mean.transpose.input[0], [own[axis] for axis in _LAST]
    probabilities, made = mean.softmax.output[0], mean.convolution.output[0]
    rows, means = graph.fresh(f"{probabilities}.rows"), graph.fresh(f"{made}.rows")
    bins = graph.add(f"{mean.convolution.input[1]}.bins", mean.weights.reshape(-1, 1).astype(np.float32))
    nodes = [
        helper.make_node("Softmax", [rows], [probabilities], mean.softmax.name, axis=-1),
        helper.make_node("MatMul", [probabilities, bins], [means], mean.convolution.name),
        helper.make_node("Transpose", [means], [made], f"{mean.convolution.name}.planes", perm=[0, 3, 1, 2]),
    ]
    if perm == [0, 1, 2, 3]:
        nodes[0].input[0] = source
        return nodes
    name = mean.transpose.name if mean.transpose is not None else f"{mean.softmax.name}.rows"
    return [helper.make_node("Transpose", [source], [rows], name, perm=perm), *nodes]
