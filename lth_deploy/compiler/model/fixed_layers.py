"""Layers whose weights are fixed numbers that nobody trained: neither pruned, nor packed, nor quantized."""

import math

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes

MEAN_OF_BINS = "it takes the mean of a distribution over bins (DFL): its weights are fixed numbers, not trained"

_CHAIN = 8
"""Most operators between a Softmax and the layer, and between a tensor and the layer."""


def fixed_layers(model: ModelProto) -> dict[str, str]:
    """The reason for each such layer, by the name of what it makes.

    A layer with one output that reads probabilities of a Softmax computes their mean: the distance that distribution
    focal loss (DFL, arXiv:2006.04388) predicts. Its weights are the bins, whatever their spacing.
    """
    nodes = list(all_nodes(model.graph))
    if not any(node.op_type == "Softmax" for node in nodes):
        return {}
    makers = {name: node for node in nodes for name in node.output}
    dims = {tensor.name: tuple(tensor.dims) for graph in all_graphs(model.graph) for tensor in graph.initializer}
    return {node.output[0]: MEAN_OF_BINS for node in nodes if _takes_mean(node, makers, dims)}


def _takes_mean(node: NodeProto, makers: dict[str, NodeProto], dims: dict[str, tuple[int, ...]]) -> bool:
    if not traits_of(node.op_type).float_layer or len(node.input) < 2:
        return False
    weight = dims.get(_source(node.input[1], makers), ())
    if not weight or math.prod(weight) != max(weight):
        return False
    maker = makers.get(_source(node.input[0], makers))
    return maker is not None and maker.op_type == "Softmax"


def _source(name: str, makers: dict[str, NodeProto]) -> str:
    for _ in range(_CHAIN):
        maker = makers.get(name)
        if maker is None or not maker.input or not _keeps_values(maker.op_type):
            break
        name = maker.input[0]
    return name


def _keeps_values(operator: str) -> bool:
    return traits_of(operator).leads_to_weight or operator in ("Cast", "QuantizeLinear")
