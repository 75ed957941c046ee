"""The plain values that instructions are made of."""

from dataclasses import dataclass
from typing import Literal

Linear = Literal["half_pixel", "asymmetric"]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Act:
    """An activation by its name in `activations.py`, with the numbers that it takes."""

    kind: str = "none"
    numbers: tuple[float, ...] = ()


NONE = Act()


@dataclass(frozen=True)
class Quantized:
    """How a quantized tensor (uint8) is read: (value - zero) * scale, the scale as float32."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Window:
    """Kernel, stride and dilation as (vertical, horizontal); pads as top, left, bottom, right."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)


ONE_BY_ONE = Window()


@dataclass(frozen=True)
class TensorType:
    """What the text of a program says about a tensor. rows: [N, channels]. quantized: None for float32."""

    channels: int
    rows: bool = False
    quantized: Quantized | None = None
