"""Steps without weights: activations, pools, resizes, joins, and what moves elements or computes with sizes."""

import math
from typing import Any

import numpy as np

from tests.random_graphs.build import TYPES, Builder, Value

ACTIVATIONS = ("Relu", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Clip", "Elu", "Softplus")


def activation(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    op = b.pick(ACTIVATIONS)
    if b.chance(0.15):
        gate = b.pick(["Sigmoid", "HardSigmoid"])
        attributes = {"alpha": 1 / 6, "beta": 0.5} if gate == "HardSigmoid" else {}
        (name,) = b.node(gate, [x.name], **attributes)
        return b.make("Mul", [x.name, name] if b.chance(0.5) else [name, x.name], x.shape)
    if op == "HardSwish" and b.opset < 14:
        return None
    if op == "Clip":
        low, high = (b.constant(b.floats(np.asarray(bound))) for bound in (b.pick([0.0, -1.0, 0.5]), 6.0))
        reads = b.pick([[x.name, low, high], [x.name, low], [x.name, "", high], [x.name]])
        return b.make("Clip", reads, x.shape)
    return b.make(op, [x.name], x.shape)


def pool(b: Builder) -> Value | None:
    inputs = [one for one in b.of_rank(4) if min(one.shape[2:]) >= 2]
    if not inputs:
        return None
    x = b.pick(inputs)
    n, c, h, w = x.shape
    op = b.pick(["MaxPool", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"])
    if op.startswith("Global"):
        return b.make(op, [x.name], (n, c, 1, 1))
    side, stride = b.pick([(2, 2), (3, 2), (3, 1)])
    pad = b.pick([0, 1]) if side == 3 else 0
    ceil = b.chance(0.15)
    size = []
    for s in (h, w):
        exact = (s + 2 * pad - side) / stride
        count = (math.ceil(exact) if ceil else math.floor(exact)) + 1
        size.append(count - (ceil and (count - 1) * stride >= s + pad))
    if min(size) < 1:
        return None
    attributes: dict[str, Any] = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    return b.make(op, [x.name], (n, c, *size), **attributes, **({"ceil_mode": 1} if ceil else {}))


def resize(b: Builder) -> Value | None:
    inputs = [one for one in b.of_rank(4) if max(one.shape[2:]) <= 24]
    if not inputs:
        return None
    x = b.pick(inputs)
    mode = b.pick(["nearest", "nearest", "linear"])
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": b.pick(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]),
    }
    if mode == "nearest":
        attributes["nearest_mode"] = b.pick(["floor", "round_prefer_floor"])
    like = [one for one in b.of_rank(4) if one.shape[0] == x.shape[0] and one is not x]
    if like and b.chance(0.5):  # to the size of another value
        other = b.pick(like)
        shape = (*x.shape[:2], *other.shape[2:])
        (head,) = _part_of_shape(b, x.name, 0, 2)
        (tail,) = _part_of_shape(b, other.name, 2, 4)
        (sizes,) = b.node("Concat", [head, tail], axis=0)
        return b.make("Resize", [x.name, "", "", sizes], shape, **attributes)
    factor = b.pick([2.0, 2.0, 1.5, 0.5])
    shape = (*x.shape[:2], *(math.floor(factor * s) for s in x.shape[2:]))
    if min(shape) < 1:
        return None
    if b.chance(0.3):
        return b.make("Resize", [x.name, "", "", b.constant(np.array(shape, np.int64))], shape, **attributes)
    return b.make("Resize", [x.name, "", b.constant(np.float32([1, 1, factor, factor]))], shape, **attributes)


def _part_of_shape(b: Builder, name: str, start: int, end: int) -> list[str]:
    (whole,) = b.node("Shape", [name])
    bounds = [b.constant(np.array([one], np.int64)) for one in (start, end)]
    return b.node("Slice", [whole, *bounds])


def binary(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    op = b.pick(["Add", "Add", "Add", "Mul", "Sub"])
    same = [one for one in inputs if one.shape == x.shape]
    if b.chance(0.6):
        return b.make(op, [x.name, b.pick(same).name], x.shape)
    shape = b.pick([(), (1,), (x.shape[-1],), x.shape, (1, x.shape[1], *(1,) * (len(x.shape) - 2))])
    other = b.constant(b.floats(b.rng.uniform(0.3, 1.2, shape)))
    return b.make(op, [x.name, other] if b.chance(0.7) else [other, x.name], x.shape)


def join(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    axis = 1 if b.chance(0.9) else len(x.shape) - 1
    fits = [one for one in inputs if len(one.shape) == len(x.shape)]
    fits = [
        one for one in fits if all(i == axis or p == q for i, (p, q) in enumerate(zip(one.shape, x.shape, strict=True)))
    ]
    parts = [x, *(b.pick(fits) for _ in range(int(b.rng.integers(0, 3))))]
    shape = list(x.shape)
    shape[axis] = sum(one.shape[axis] for one in parts)
    if shape[axis] > 128:
        return None
    return b.make(
        "Concat", [one.name for one in parts], tuple(shape), axis=axis if b.chance(0.7) else axis - len(shape)
    )


def split(b: Builder) -> Value | None:
    inputs = [one for one in b.of_rank(2, 3, 4) if one.shape[1] >= 2]
    if not inputs:
        return None
    x = b.pick(inputs)
    cut = int(b.rng.integers(1, x.shape[1]))
    if b.chance(0.5):
        sizes = [cut, x.shape[1] - cut]
        names = b.node("Split", [x.name, b.constant(np.array(sizes, np.int64))], outputs=2, axis=1)
        made = [Value(name, (x.shape[0], size, *x.shape[2:]), b.dtype) for name, size in zip(names, sizes, strict=True)]
        b.pool.extend(made if b.chance(0.8) else made[:1])
        return made[0]
    start, end = b.pick([(0, cut), (cut, np.iinfo(np.int64).max), (-cut, np.iinfo(np.int64).max)])
    bounds = [b.constant(np.array([one], np.int64)) for one in (start, end, 1)]
    size = len(range(x.shape[1])[slice(start, end)])
    return b.make("Slice", [x.name, *bounds], (x.shape[0], size, *x.shape[2:]))


def pad(b: Builder) -> Value | None:
    inputs = [one for one in b.of_rank(4) if max(one.shape[2:]) <= 32]
    if not inputs:
        return None
    x = b.pick(inputs)
    sides = [int(b.rng.integers(0, 2)) for _ in range(4)]
    pads = [0, 0, sides[0], sides[1], 0, 0, sides[2], sides[3]]
    value = b.pick([0.0, -6e4 if b.dtype == "float16" else -3e38])
    if value:  # only a maximum stands so low a value
        n, c, h, w = x.shape
        h, w = h + sides[0] + sides[2], w + sides[1] + sides[3]
        if min(h, w) < 2:
            return None
        reads = [x.name, b.constant(np.array(pads, np.int64)), b.constant(b.floats(np.asarray(value)))]
        (name,) = b.node("Pad", reads)
        return b.make("MaxPool", [name], (n, c, h - 1, w - 1), kernel_shape=[2, 2])
    shape = (*x.shape[:2], x.shape[2] + sides[0] + sides[2], x.shape[3] + sides[1] + sides[3])
    return b.make("Pad", [x.name, b.constant(np.array(pads, np.int64))], shape)


def norm(b: Builder) -> Value | None:
    inputs = b.of_rank(4)
    if not inputs:
        return None
    x = b.pick(inputs)
    c = x.shape[1]
    scale, shift = (b.constant(b.floats(b.rng.uniform(0.5, 1.5, c))) for _ in range(2))
    if b.chance(0.3) and math.prod(x.shape[2:]) > 1:
        return b.make("InstanceNormalization", [x.name, scale, shift], x.shape)
    mean, var = b.bias(c), b.constant(b.floats(b.rng.uniform(0.5, 1.5, c)))
    return b.make("BatchNormalization", [x.name, scale, shift, mean, var], x.shape)


def flatten(b: Builder) -> Value | None:
    """From planes to rows or tokens, by one of the ways of exporters."""
    inputs = [one for one in b.of_rank(4) if math.prod(one.shape[1:]) <= 2048]
    if not inputs:
        return None
    x = b.pick(inputs)
    n, c, h, w = x.shape
    kind = b.pick(["flatten", "reshape", "tokens", "mean", "computed"])
    if kind == "flatten":
        return b.make("Flatten", [x.name], (n, c * h * w), axis=1)
    if kind == "reshape":
        return b.make("Reshape", [x.name, b.constant(np.array(b.pick([[0, -1], [n, -1]]), np.int64))], (n, c * h * w))
    if kind == "mean":
        if b.opset >= 18:
            return b.make("ReduceMean", [x.name, b.constant(np.array([2, 3], np.int64))], (n, c), keepdims=0)
        return b.make("ReduceMean", [x.name], (n, c), axes=[2, 3], keepdims=0)
    if kind == "tokens":
        (wide,) = b.node("Reshape", [x.name, b.constant(np.array([0, 0, -1], np.int64))])
        return b.make("Transpose", [wide], (n, h * w, c), perm=[0, 2, 1])
    (head,) = _part_of_shape(b, x.name, 0, 1)
    (shape,) = b.node("Concat", [head, b.constant(np.array([-1], np.int64))], axis=0)
    return b.make("Reshape", [x.name, shape], (n, c * h * w))


def unflatten(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3)
    if not inputs:
        return None
    x = b.pick(inputs)
    if len(x.shape) == 2:
        return b.make("Reshape", [x.name, b.constant(np.array([*x.shape, 1, 1], np.int64))], (*x.shape, 1, 1))
    (turned,) = b.node("Transpose", [x.name], perm=[0, 2, 1])
    shape = (x.shape[0], x.shape[2], x.shape[1], 1)
    return b.make("Reshape", [turned, b.constant(np.array(shape, np.int64))], shape)


def convert(b: Builder) -> Value | None:
    """To another float type and back."""
    inputs = b.of_rank(2, 3, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    kind = b.pick(["float16", "float64", b.dtype])
    (there,) = b.node("Cast", [x.name], to=TYPES[kind])
    if kind != b.dtype and b.chance(0.5):
        (there,) = b.node("Relu", [there])
    return b.make("Cast", [there], x.shape, to=TYPES[b.dtype])


def same(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 3, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    op = b.pick(["Identity", "Dropout", "Max", "Softmax", "Expand"])
    if op == "Max":
        return b.make("Max", [x.name, b.constant(b.floats(np.asarray(-1.0)))], x.shape)
    if op == "Expand":
        return b.make("Expand", [x.name, b.constant(np.array(x.shape, np.int64))], x.shape)
    return b.make(op, [x.name], x.shape)


OTHERS = {
    **{activation: 6, pool: 2, resize: 2, binary: 4, join: 2, split: 2, pad: 1, norm: 1},
    **{flatten: 2, unflatten: 1, convert: 1, same: 1},
}
