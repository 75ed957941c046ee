"""Into how many regions a model is cut, and which operators cut it."""

from collections import Counter

from onnx import ModelProto

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.model.attributes import attribute

_NAMED = 4

_SIZES = "Shape"
"""A node that reads the size of a tensor alone, which a region gives without the tensor."""


def region_cutters(model: ModelProto) -> tuple[int, Counter[str]]:
    """The number of regions of the main graph, and how many nodes of each operator cut it.

    A node cuts where it reads what a region makes, directly, and leads to another region: with it inside, both could
    be one. Nodes behind the last region, such as the decoding of boxes, cut nothing.
    """
    nodes = list(model.graph.node)
    leads: set[str] = set()
    for node in reversed(nodes):
        if is_region(node) or not leads.isdisjoint(node.output):
            leads.update(node.input)
    made = {name for node in nodes if is_region(node) for name in node.output}
    cutters = Counter(
        f"grouped {node.op_type}" if attribute(node, "group", 1) > 1 else node.op_type
        for node in nodes
        if node.domain != DOMAIN
        and node.op_type != _SIZES
        and not made.isdisjoint(node.input)
        and not leads.isdisjoint(node.output)
    )
    return sum(is_region(node) for node in nodes), cutters


def region_note(model: ModelProto) -> str | None:
    """The same in one sentence; None where there is no region."""
    count, cutters = region_cutters(model)
    if not count:
        return None
    if not cutters:
        return f"{count} region{'s' * (count > 1)}; no operator between them cuts the model"
    listed = ", ".join(f"{name} ({times})" for name, times in cutters.most_common(_NAMED))
    return f"{count} region{'s' * (count > 1)}; the model is cut most by {listed}"
