"""Steps of graphs in 8 bits: QuantizeLinear and DequantizeLinear around activations and behind weights."""

import math

import numpy as np

from tests.random_graphs.build import Builder, Value

GRID = 0.05


def on_grid(b: Builder, x: Value) -> Value:
    """A value through bytes and back."""
    zero = np.uint8(b.pick([0, 128, 100])) if b.chance(0.7) else np.int8(b.pick([0, -10]))
    grid = [b.constant(np.float32(GRID), "scale", lifted=False), b.constant(zero, "zero", lifted=False)]
    (stored,) = b.node("QuantizeLinear", [x.name, *grid])
    return b.make("DequantizeLinear", [stored, *grid], x.shape)


def bytes_around(b: Builder) -> Value | None:
    inputs = b.of_rank(2, 4) if b.dtype == "float32" else []
    return on_grid(b, b.pick(inputs)) if inputs else None


def quantized_layer(b: Builder) -> Value | None:
    """A Conv or Gemm of a weight in 8 bits, between grids or not."""
    inputs = b.of_rank(2, 4) if b.dtype == "float32" else []
    if not inputs:
        return None
    x = b.pick(inputs)
    outputs, side = b.pick([8, 16, 32]), b.pick([1, 3])
    shape = (outputs, x.shape[1], side, side) if len(x.shape) == 4 else (outputs, x.shape[1])
    floats = b.sparse(shape, math.prod(shape[1:]))
    channels = b.chance(0.7)
    largest = (
        np.abs(floats).max(axis=tuple(range(1, floats.ndim)), keepdims=True)
        if channels
        else np.abs(floats).max(keepdims=True)
    )
    scale = np.where(largest > 0, largest / 127, 1.0)
    stored = np.round(floats / scale).clip(-127, 127).astype(np.int8)
    if b.chance(0.1):
        stored.flat[0] = -128
    wide = scale.reshape(-1).astype(np.float32) if channels else np.float32(scale.reshape(-1)[0])
    reads = [b.constant(stored, "w8", lifted=False), b.constant(wide, "scale", lifted=False)]
    if b.chance(0.5):
        reads.append(b.constant(np.zeros(wide.shape, np.int8), "zero", lifted=False))
    (weight,) = b.node("DequantizeLinear", reads, **({"axis": 0} if channels else {}))
    source = on_grid(b, x) if b.chance(0.8) else x
    bias = [b.bias(outputs)] if b.chance(0.5) else []
    if len(x.shape) == 4:
        made = b.make("Conv", [source.name, weight, *bias], (x.shape[0], outputs, *x.shape[2:]), pads=[side // 2] * 4)
    else:
        made = b.make("Gemm", [source.name, weight, *bias], (x.shape[0], outputs), transB=1)
    if b.chance(0.4):
        made = b.make("Relu", [made.name], made.shape)
    return on_grid(b, made) if b.chance(0.8) else made


QUANTIZED = {bytes_around: 2, quantized_layer: 5}
