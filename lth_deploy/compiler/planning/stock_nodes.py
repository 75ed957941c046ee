"""Which node of a model an operator of the stock runtime stands for, after the runtime has fused and renamed nodes."""

import re
from collections.abc import Mapping

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.weight_layers import CHAIN
from lth_deploy.compiler.model.operators import operators_with, traits_of
from lth_deploy.compiler.model.ort_profile import OperatorTime

_NAME = "lth_deploy.node."
_NODE = re.compile(r"(?:fused )?lth_deploy\.node\.(\d+)")
_BLOCKED = "_nchwc"
_LAYERS = operators_with(lambda traits: traits.float_layer)


def name_nodes(model: ModelProto) -> None:
    """Call each node after its number, so that a profile says which one an operator is."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{_NAME}{number}"


def is_layer(op_type: str) -> bool:
    """Whether an operator of the runtime is a layer, also a fused one or one of another layout, by its name."""
    return any(layer in op_type for layer in _LAYERS)


def in_blocked_layout(one: OperatorTime) -> bool:
    """Whether an operator reads and writes blocks of channels, as the runtime computes most float convolutions."""
    return one.name.endswith(_BLOCKED)


def source_node(one: OperatorTime, plain: ModelProto, makers: Mapping[str, NodeProto]) -> NodeProto | None:
    """The node of the model that an operator stands for, of fused ones the layer; None for one of the runtime's own.

    A fused operator is called after its first node, or in the blocked layout after what it puts out.

    Args:
        one: of a profile of `plain`.
        plain: a model whose nodes were named by `name_nodes`.
        makers: of each tensor its node.
    """
    match = _NODE.match(one.name)
    node = makers.get(one.name.removesuffix(_BLOCKED)) if match is None else plain.graph.node[int(match[1])]
    if not is_layer(one.op_type):
        return node
    layer = node
    for _ in range(CHAIN):
        if layer is None or traits_of(layer.op_type).has_weight:
            break
        layer = makers.get(layer.input[0]) if layer.input else None
    return layer or node
