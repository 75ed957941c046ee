"""Which inputs of which operators are parameters: constants in any model that was trained."""

from collections.abc import Iterator

from onnx import NodeProto

from lth_deploy.compiler.artifact.weight_layers import WEIGHT_INPUT

_NORMS = {
    "BatchNormalization": (1, 2, 3, 4),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3, 7),
    "RNN": (1, 2, 3),
}


def parameters_of(node: NodeProto) -> Iterator[str]:
    """Names of a node's parameters: of a layer the weight, the bias, scales and zero points, but not what it reads."""
    if node.op_type in WEIGHT_INPUT:
        weight = WEIGHT_INPUT[node.op_type]
        places: tuple[int, ...] = (weight, *range(weight + 1, len(node.input)))
        if node.op_type.startswith("QLinear"):
            places = tuple(range(1, len(node.input)))
    else:
        places = _NORMS.get(node.op_type, ())
    yield from (node.input[place] for place in places if place < len(node.input) and node.input[place])
