"""Which inputs of which operators are parameters: constants in any model that was trained."""

from collections.abc import Iterator

from onnx import NodeProto

from lth_deploy.compiler.model.operators import traits_of


def parameters_of(node: NodeProto) -> Iterator[str]:
    """Names of a node's parameters: of a layer the weight, the bias, scales and zero points, but not what it reads."""
    traits = traits_of(node.op_type)
    weight = traits.weight_input
    if weight is not None:
        places: tuple[int, ...] = (weight, *range(weight + 1, len(node.input)))
        if node.op_type.startswith("QLinear"):
            places = tuple(range(1, len(node.input)))
    else:
        places = traits.parameter_inputs
    yield from (node.input[place] for place in places if place < len(node.input) and node.input[place])
