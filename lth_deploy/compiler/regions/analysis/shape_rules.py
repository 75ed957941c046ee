"""Shapes that several operators share, and those of ONNX operators that stay outside of regions."""

from collections.abc import Iterable
from typing import Any

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, named, of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, ShapeRule, TensorInfo


def window_shape(node: NodeProto, plane: Iterable[Dim], kernel: Any, pads: Any = None) -> Shape:
    """Plane behind a window: floor((in + pads - dilation (kernel - 1) - 1) / stride) + 1.

    pads: instead of those of the node's attribute.
    """
    half = len(kernel)
    stride, dilation = attribute(node, "strides", [1] * half), attribute(node, "dilations", [1] * half)
    pads = pads or attribute(node, "pads", [0] * 2 * half)
    return tuple(
        (size + int(pads[i] + pads[i + half] - dilation[i] * (kernel[i] - 1) - 1)) // int(stride[i]) + 1
        for i, size in enumerate(plane)
    )


def pool_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    """Of a pool whose padding is given, and that rounds down."""
    kernel = attribute(node, "kernel_shape", [])
    if len(kernel) != 2 or attribute(node, "ceil_mode", 0) or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    x = info.planes(node.input[0])
    return [(*x[:2], *window_shape(node, x[2:], kernel))] if len(x) == 4 else None


def elementwise_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    """Of two tensors of one shape, or one of which has a single element."""
    a, b = (info.shapes.get(name) for name in node.input[:2])
    if a is None or b is None:
        return None
    if a == b or all(dim == of(1) for dim in b):
        return [a] if len(a) >= len(b) else [b]
    return [b] if all(dim == of(1) for dim in a) and len(b) >= len(a) else None


def _pad(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x, pads = info.shapes.get(node.input[0]), info.constant(node.input[1]) if len(node.input) > 1 else None
    if x is None or pads is None or pads.size != 2 * len(x):
        return None
    return [tuple(size + int(pads[i] + pads[i + len(x)]) for i, size in enumerate(x))]


def _roi_align(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.planes(node.input[0])
    side = (of(attribute(node, "output_height", 1)), of(attribute(node, "output_width", 1)))
    return [(named(f"{node.output[0]}.N"), x[1], *side)]


OUTSIDE_RULES: dict[str, ShapeRule] = {
    "AveragePool": pool_shape,
    **dict.fromkeys(("Mul", "Sub", "Div", "Pow"), elementwise_shape),
    "Pad": _pad,
    "RoiAlign": _roi_align,
}
