"""Operators that torch's ONNX exporter writes wrongly for some sizes, written rightly while a network is traced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from onnx import TensorProto


@contextmanager
def repaired_operators(opset: int) -> Iterator[None]:
    """In the body, the exporter writes the operators of this file as they stand here."""
    torch.onnx.register_custom_op_symbolic("aten::linspace", _linspace, opset)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::linspace", opset)


def _linspace(g: Any, start: Any, end: Any, steps: Any, *_: Any) -> Any:
    """`torch.linspace` in float32; the exporter divides by `steps - 1` even where that is zero, and gets NaN.

    Sizes of feature maps are steps in deformable attention, and a map may have one row.
    """
    zero, one = (g.op("Constant", value_t=torch.tensor(number)) for number in (0, 1))
    intervals = g.op("Max", g.op("Sub", steps, one), one)
    first, last, count = (g.op("Cast", value, to_i=TensorProto.FLOAT) for value in (start, end, intervals))
    numbers = g.op("Cast", g.op("Range", zero, steps, one), to_i=TensorProto.FLOAT)
    step = g.op("Div", g.op("Sub", last, first), count)
    return g.op("Add", g.op("Mul", numbers, step), first)
