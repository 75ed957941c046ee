"""Which region computes which weight of a file."""

from onnx import ModelProto

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.inline_regions import is_region, region_functions


def find_regions(model: ModelProto) -> dict[str, str]:
    """Operators of regions by the names of the weights that they compute with.

    Raises:
        ArtifactError: an operator has two bodies.
    """
    functions = region_functions(model)
    found: dict[str, str] = {}
    for node in model.graph.node:
        if is_region(node) and node.op_type in functions:
            function = functions[node.op_type]
            found.update((name, node.op_type) for name in node.input)
            decoders = (n for n in function.node if n.domain == DOMAIN or n.op_type == "Cast")
            found.update((name, node.op_type) for n in decoders for name in n.output)
    return found
