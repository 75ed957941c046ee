"""The shape of what a node makes, operator by operator; None where it is not known."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, named, of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo, attribute, clamped, slice_bounds


def windowed(sizes: Iterable[Dim], kernel: Any, stride: Any, pads: Any, dilation: Any) -> Shape:
    """Plane behind a window: floor((in + pads - dilation (kernel - 1) - 1) / stride) + 1."""
    half = len(kernel)
    return tuple(
        (size + int(pads[i] + pads[i + half] - dilation[i] * (kernel[i] - 1) - 1)) // int(stride[i]) + 1
        for i, size in enumerate(sizes)
    )


def _conv(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = shapes.of.get(node.input[1])
    if weight is None or len(weight) != 4:
        return None
    inputs = weight[1].known
    x = shapes.planes(node.input[0], inputs * attribute(node, "group", 1) if inputs else None)
    kernel = [weight[2].known, weight[3].known]
    window = (
        attribute(node, "strides", [1, 1]),
        attribute(node, "pads", [0] * 4),
        attribute(node, "dilations", [1, 1]),
    )
    if len(x) != 4 or None in kernel or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    return [(x[0], weight[0], *windowed(x[2:], kernel, *window))]


def only_interleaves(node: NodeProto, kernel: tuple[int, int]) -> bool:
    """Whether no two inputs of a transposed convolution meet in an output, and none is cut off or added."""
    plain = attribute(node, "strides", [1, 1]) == list(kernel) and attribute(node, "group", 1) == 1
    plain = plain and not any(attribute(node, "pads", [0])) and not attribute(node, "output_shape")
    return plain and attribute(node, "dilations", [1, 1]) == [1, 1] and not any(attribute(node, "output_padding", [0]))


def _conv_transpose(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = shapes.of.get(node.input[1])
    if weight is None or len(weight) != 4:
        return None
    height, width = weight[2].known, weight[3].known
    if height is None or width is None or not only_interleaves(node, (height, width)):
        return None
    x = shapes.planes(node.input[0], weight[0].known)
    return [(x[0], weight[1], x[2] * height, x[3] * width)] if len(x) == 4 else None


def _pool(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    kernel = attribute(node, "kernel_shape", [])
    if len(kernel) != 2 or attribute(node, "ceil_mode", 0) or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    x = shapes.planes(node.input[0])
    window = (
        attribute(node, "strides", [1, 1]),
        attribute(node, "pads", [0] * 4),
        attribute(node, "dilations", [1, 1]),
    )
    return [(*x[:2], *windowed(x[2:], kernel, *window))] if len(x) == 4 else None


def _gemm(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    weight = shapes.of.get(node.input[1])
    if weight is None or len(weight) != 2 or attribute(node, "transA", 0):
        return None
    outputs, inputs = weight if attribute(node, "transB", 0) else weight[::-1]
    return [(shapes.rows(node.input[0], inputs.known)[0], outputs)]


def _element_wise(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    a, b = (shapes.of.get(name) for name in node.input[:2])
    if a is None or b is None:
        return None
    if a == b or all(dim == of(1) for dim in b):
        return [a] if len(a) >= len(b) else [b]
    return [b] if all(dim == of(1) for dim in a) and len(b) >= len(a) else None


def _concat(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    parts = [shapes.of.get(name) for name in node.input]
    first = parts[0]
    if first is None or any(part is None or len(part) != len(first) for part in parts):
        return None
    axis = attribute(node, "axis", 0) % len(first) if first else 0
    made = list(first)
    made[axis : axis + 1] = [sum((part[axis] for part in parts if part), of(0))]
    return [tuple(made)]


def _slice(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x, bounds = shapes.of.get(node.input[0]), slice_bounds(shapes, node)
    if x is None or bounds is None or not x:
        return None
    axis = bounds[0] % len(x)
    size = x[axis].known
    if size is None:
        return None
    start, stop = clamped(bounds[1], bounds[2], size)
    return [(*x[:axis], of(max(0, stop - start)), *x[axis + 1 :])]


def split_sizes(shapes: TensorInfo, node: NodeProto) -> list[int] | None:
    """Sizes of the parts of a Split with constant sizes."""
    x = shapes.of.get(node.input[0])
    if x is None:
        return None
    total = x[attribute(node, "axis", 0) % len(x)].known
    if len(node.input) > 1 and node.input[1]:
        sizes = shapes.constant(node.input[1])
        return None if sizes is None or sizes.sum() != total else [int(size) for size in sizes]
    if total is None:
        return None
    part = -(-total // len(node.output))
    return [min(part, total - i * part) for i in range(len(node.output))]


def _split(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    sizes, x = split_sizes(shapes, node), shapes.of.get(node.input[0])
    if sizes is None or x is None:
        return None
    axis = attribute(node, "axis", 0) % len(x)
    return [(*x[:axis], of(size), *x[axis + 1 :]) for size in sizes]


def _resize(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = shapes.of.get(node.input[0])
    if len(node.input) > 3 and node.input[3]:
        sizes = shapes.values.get(node.input[3])
        return [sizes] if sizes and x is not None and len(sizes) == len(x) else None
    scales = shapes.constant(node.input[2]) if len(node.input) > 2 else None
    if scales is None or x is None or scales.size != len(x):
        return None
    made = []
    for size, scale in zip(x, scales.reshape(-1).tolist(), strict=True):
        if scale == int(scale):
            made.append(size * int(scale))
        elif size.known is not None:
            made.append(of(int(np.floor(size.known * scale))))
        else:
            return None
    return [tuple(made)]


def _pad(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x, pads = shapes.of.get(node.input[0]), shapes.constant(node.input[1]) if len(node.input) > 1 else None
    if x is None or pads is None or pads.size != 2 * len(x):
        return None
    return [tuple(size + int(pads[i] + pads[i + len(x)]) for i, size in enumerate(x))]


def _flatten(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = shapes.of.get(node.input[0])
    return [x] if x is not None and len(x) == 2 and attribute(node, "axis", 1) in (1, -1) else None


def _roi_align(shapes: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = shapes.planes(node.input[0])
    side = (of(attribute(node, "output_height", 1)), of(attribute(node, "output_width", 1)))
    return [(named(f"{node.output[0]}.N"), x[1], *side)]


SHAPE_RULES: dict[str, Callable[[TensorInfo, NodeProto], list[Shape] | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Gemm": _gemm,
    "Add": _element_wise,
    "Mul": _element_wise,
    "Sub": _element_wise,
    "Max": _element_wise,
    "Div": _element_wise,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Resize": _resize,
    "Pad": _pad,
    "Flatten": _flatten,
    "RoiAlign": _roi_align,
}
