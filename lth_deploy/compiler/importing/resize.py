"""Upsample, and Resize of opset 10, in the terms of Resize 11: which points they take was not written down before.

What ONNX Runtime computes for them is followed: a point of the output comes from its place divided by the scale. To the
nearest means the point before it where an axis grows, and the one behind it where it shrinks.
"""

import numpy as np
from onnx import NodeProto, helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.rewrite import NotExactError, Rewrite, changed
from lth_deploy.compiler.model.attributes import attribute


def upsample_7(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Upsample 7 to 9: scales become an input."""
    scales = rewrite.add(f"{node.output[0]}.scales", np.asarray(attribute(node, "scales", []), np.float32))
    return [changed(node, inputs=[node.input[0], scales], without=("scales",))]


def upsample_9(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Upsample 9 to Resize 10, which takes the same inputs and attributes."""
    return [changed(node, op_type="Resize")]


def resize_10(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Resize 10 to 11: in two steps where some axes may grow and others shrink."""
    mode = attribute(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise NotExactError(f"its mode '{mode}' is none of the standard's")
    source, scales = node.input[:2]
    if mode == "linear":
        return [_resized(node, source, scales, node.output[0])]
    known = rewrite.constant(scales)
    if known is not None and (known >= 1).all():
        return [_resized(node, source, scales, node.output[0], "floor")]
    if known is not None and (known <= 1).all():
        return [_resized(node, source, scales, node.output[0], "ceil")]
    larger, making = _bounded(node, scales, known, "Max", rewrite)
    smaller, more = _bounded(node, scales, known, "Min", rewrite)
    grown = rewrite.name(f"{node.output[0]}.grown")
    return [
        *making,
        *more,
        _resized(node, source, larger, grown, "floor"),
        _resized(node, grown, smaller, node.output[0], "ceil"),
    ]


def _bounded(
    node: NodeProto, scales: str, known: Array | None, bound: str, rewrite: Rewrite
) -> tuple[str, list[NodeProto]]:
    """The scales of the axes that grow (`Max`) or shrink (`Min`), 1 for the others, and the node that makes them."""
    wanted = f"{node.output[0]}.{'larger' if bound == 'Max' else 'smaller'}"
    if known is not None:
        return rewrite.add(wanted, (np.maximum if bound == "Max" else np.minimum)(known, np.float32(1))), []
    name, one = rewrite.name(wanted), rewrite.add(f"{node.output[0]}.one", np.ones(1, np.float32))
    return name, [helper.make_node(bound, [scales, one], [name])]


def _resized(node: NodeProto, source: str, scales: str, output: str, nearest: str = "") -> NodeProto:
    points = changed(node, inputs=[source, "", scales], outputs=[output], coordinate_transformation_mode="asymmetric")
    return changed(points, nearest_mode=nearest) if nearest else points
