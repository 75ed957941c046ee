"""Steps that add layers with weights, on planes and on rows."""

import math
from typing import Any

import numpy as np

from tests.random_graphs.build import Builder, Value

CHANNELS = (1, 3, 8, 16, 16, 24, 32, 48, 64)


def conv(b: Builder) -> Value | None:
    inputs = b.of_rank(4)
    if not inputs:
        return None
    x = b.pick(inputs)
    n, c, h, w = x.shape
    groups = b.pick([1, 1, 1, 1, c, *(g for g in (2, 4) if c % g == 0)])
    outputs = groups * b.pick([1, 2]) if groups == c else groups * max(1, b.pick(CHANNELS) // groups)
    kernel = (b.pick([1, 1, 3, 3, 5]), b.pick([1, 3, 3])) if b.chance(0.2) else (b.pick([1, 3, 3]),) * 2
    strides, dilations = (b.pick([1, 1, 2]),) * 2, (b.pick([1, 1, 1, 2]),) * 2
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups}
    if b.chance(0.15) and max(dilations) == 1:
        attributes["auto_pad"] = b.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
        same = attributes["auto_pad"] != "VALID"
        size = [math.ceil(s / t) if same else (s - k) // t + 1 for s, t, k in zip((h, w), strides, kernel, strict=True)]
    else:
        centered = b.chance(0.8)
        sides = [
            d * (k - 1) // 2 if centered else int(b.rng.integers(0, k)) for d, k in zip(dilations, kernel, strict=True)
        ]
        ends = sides if b.chance(0.9) else [side + 1 for side in sides]
        attributes["pads"] = [*sides, *ends]
        size = [
            (s + p + e - d * (k - 1) - 1) // t + 1
            for s, p, e, d, k, t in zip((h, w), sides, ends, dilations, kernel, strides, strict=True)
        ]
    if min(size) < 1:
        return None
    shape = (outputs, c // groups, *kernel)
    reads = [x.name, b.weight(shape, math.prod(shape[1:]))]
    reads += [b.bias(outputs)] if b.chance(0.6) else [""] if b.chance(0.1) else []
    if b.chance(0.5):
        attributes["kernel_shape"] = kernel
    return b.make("Conv", reads, (n, outputs, *size), **attributes)


def conv_transpose(b: Builder) -> Value | None:
    inputs = [one for one in b.of_rank(4) if max(one.shape[2:]) <= 24]
    if not inputs:
        return None
    x = b.pick(inputs)
    n, c, h, w = x.shape
    groups = b.pick([1, 1, 1, *(g for g in (2, 4) if c % g == 0)])
    outputs = groups * b.pick([1, 4, 8, 16])
    side, stride = b.pick([(2, 2), (2, 2), (3, 1), (4, 2), (1, 1)])
    pads = b.pick([0, 0, 1 if side > 2 else 0])
    extra = b.pick([0, 0, 1]) if stride > 1 else 0
    size = [stride * (s - 1) + side - 2 * pads + extra for s in (h, w)]
    if min(size) < 1:
        return None
    shape = (c, outputs // groups, side, side)
    reads = [x.name, b.weight(shape, c)] + ([b.bias(outputs)] if b.chance(0.5) else [])
    attributes = {"strides": [stride] * 2, "pads": [pads] * 4, "group": groups, "output_padding": [extra] * 2}
    return b.make("ConvTranspose", reads, (n, outputs, *size), **attributes)


def gemm(b: Builder) -> Value | None:
    inputs = b.of_rank(2)
    if not inputs:
        return None
    x = b.pick(inputs)
    flipped = b.chance(0.05)
    rows, features = reversed(x.shape) if flipped else x.shape
    outputs, turned = b.pick(CHANNELS), b.chance(0.7)
    weight = b.weight((outputs, features) if turned else (features, outputs), features)
    attributes: dict[str, Any] = {"transB": int(turned)} | ({"transA": 1} if flipped else {})
    if b.chance(0.15):
        attributes |= {"alpha": 0.5, "beta": 2.0}
    reads = [x.name, weight]
    if b.chance(0.6):
        odd = b.chance(0.15)
        reads += [b.constant(b.floats(b.rng.standard_normal((rows, 1))))] if odd else [b.bias(outputs)]
    return b.make("Gemm", reads, (rows, outputs), **attributes)


def matmul(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3)
    if not inputs:
        return None
    x = b.pick(inputs)
    outputs, features = b.pick(CHANNELS), x.shape[-1]
    if b.chance(0.15):  # the constant stands on the left
        left = b.weight((outputs, x.shape[-2]), x.shape[-2])
        return b.make("MatMul", [left, x.name], (*x.shape[:-2], outputs, features))
    if b.chance(0.1) and len(x.shape) == 3:
        stacked = b.weight((x.shape[0], features, outputs), features)
        return b.make("MatMul", [x.name, stacked], (*x.shape[:-1], outputs))
    made = b.make("MatMul", [x.name, b.weight((features, outputs), features)], (*x.shape[:-1], outputs))
    return b.make("Add", [made.name, b.bias(outputs)], made.shape) if b.chance(0.5) else made


def tied(b: Builder) -> Value | None:
    """A product with a weight that something else reads: turned around, or picked from as an embedding."""
    inputs = b.of_rank(2)
    if not inputs:
        return None
    x = b.pick(inputs)
    known = [one for one in b.weights if len(one.shape) == 2 and one.dtype == b.dtype and one.shape[1] == x.shape[1]]
    if known and b.chance(0.8):
        weight = b.pick(known)
    else:
        rows = b.pick(CHANNELS)
        weight = Value(b.weight((rows, x.shape[1]), x.shape[1]), (rows, x.shape[1]), b.dtype)
    if b.chance(0.6):
        turned = b.make("Transpose", [weight.name], weight.shape[::-1], perm=[1, 0])
        return b.make("MatMul", [x.name, turned.name], (x.shape[0], weight.shape[0]))
    ids = b.constant(b.rng.integers(0, weight.shape[0], x.shape[0]))
    looked_up = b.make("Gather", [weight.name, ids], (x.shape[0], weight.shape[1]), axis=0)
    return b.make("Add", [looked_up.name, x.name], x.shape)


def read_weight(b: Builder) -> Value | None:
    """Something that is no layer reads a weight, a bias or a scale."""
    known = [one for one in b.weights if one.dtype == b.dtype]
    inputs = b.of_rank(2, 3, 4)
    if not known or not inputs:
        return None
    w, x = b.pick(known), b.pick(inputs)
    kind = b.pick(["ReduceMax", "Shape", "Exp", "Flatten", "Identity"])
    if kind == "Shape":
        (shape,) = b.node("Shape", [w.name])
        (size,) = b.node("Gather", [shape, b.constant(np.int64(0))], axis=0)
        (factor,) = b.node("Cast", [size], to=_type(b))
        (small,) = b.node("Mul", [factor, b.constant(b.floats(np.asarray(0.01)))])
        return b.make("Add", [x.name, small], x.shape)
    source = w.name
    if kind != "ReduceMax":
        (source,) = b.node(kind, [w.name])
    (factor,) = b.node("ReduceMax", [source], keepdims=0)
    return b.make("Add", [x.name, factor], x.shape)


def _type(b: Builder) -> int:
    from tests.random_graphs.build import TYPES

    return TYPES[b.dtype]


LAYERS = {conv: 9, conv_transpose: 2, gemm: 3, matmul: 3, tied: 1, read_weight: 1}
