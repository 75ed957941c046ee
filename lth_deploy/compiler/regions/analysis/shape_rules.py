"""Shapes that several operators share, and those of ONNX operators that stay outside of regions."""

from collections.abc import Iterable, Sequence
from typing import Any

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, evaluate, named, names_in, of
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
    """Of a pool whose padding is given."""
    kernel = attribute(node, "kernel_shape", [])
    if len(kernel) != 2 or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    x = info.planes(node.input[0])
    pads = rounded_up(node, x[2:], attribute(node, "pads", [0, 0, 0, 0])) if len(x) == 4 else None
    return None if pads is None else [(*x[:2], *window_shape(node, x[2:], kernel, pads))]


def rounded_up(node: NodeProto, plane: Shape, pads: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The pads of a pool, with those that make whole windows of what ceil_mode rounds up; None where not known.

    A last window that lay in the padding alone would be left out, but not by every runtime: it makes them unknown.
    """
    made = list(pads)
    if not attribute(node, "ceil_mode", 0):
        return made[0], made[1], made[2], made[3]
    kernel = attribute(node, "kernel_shape", [])
    stride, dilation = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    for i, size in enumerate(plane):
        if size.known is None:
            return None
        free = size.known + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1
        steps = -(-free // stride[i])
        if free < 0 or steps * stride[i] >= size.known + pads[i]:
            return None
        made[i + 2] += steps * stride[i] - free
    return made[0], made[1], made[2], made[3]


def elementwise_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    """Of two tensors of one shape, or of which one is repeated where it has a size of 1."""
    a, b = (info.shapes.get(name) for name in node.input[:2])
    if a is None or b is None:
        return None
    rank, one = max(len(a), len(b)), of(1)
    a, b = ((one,) * (rank - len(shape)) + shape for shape in (a, b))
    for x, y in zip(a[2:], b[2:], strict=True):
        if rank == 4 and a[:2] == b[:2] and _equal_if_even(x, y):
            info.equate(x, y)
    a, b = info.simplest(a), info.simplest(b)
    fits = all(x == y or one in (x, y) for x, y in zip(a, b, strict=True))
    return [tuple(y if x == one else x for x, y in zip(a, b, strict=True))] if fits else None


def _equal_if_even(x: Dim, y: Dim) -> bool:
    """Whether two sizes differ by rounding alone: levels of a pyramid, of which one was halved and doubled again.

    A stock runtime adds them where they are equal, and repeats a single pixel; a region refuses to.
    """
    one_name = names_in(x) == names_in(y) and len(names_in(x)) == 1
    return one_name and all(evaluate(x, {}, n) == evaluate(y, {}, n) for n in _EVEN)


_EVEN = (256, 512, 768, 1280)
"""Sizes that can be halved often; what is equal for all of them differs by rounding."""


def _roi_align(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.planes(node.input[0])
    side = (of(attribute(node, "output_height", 1)), of(attribute(node, "output_width", 1)))
    return [(named(f"{node.output[0]}.N"), x[1], *side)]


OUTSIDE_RULES: dict[str, ShapeRule] = {
    **dict.fromkeys(("Div", "Pow"), elementwise_shape),
    "RoiAlign": _roi_align,
}
