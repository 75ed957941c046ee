"""What a region computes, as data: the rules are in export/REGION.md and `rules.py`, the text form in `text.py`."""

from dataclasses import dataclass
from typing import Literal

Coding = Literal["dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16"]
ValueType = Literal["f32", "f16", "s8", "s32"]
Linear = Literal["half_pixel", "asymmetric"]
ActKind = Literal["none", "relu", "leaky", "clip", "silu", "hardswish"]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]

ACT_NUMBERS: dict[str, int] = {"none": 0, "relu": 0, "leaky": 1, "clip": 2, "silu": 0, "hardswish": 0}
"""How many numbers each activation takes."""


@dataclass(frozen=True)
class Act:
    """An activation. numbers: the slope of `leaky`, the lower and the upper bound of `clip`."""

    kind: ActKind = "none"
    numbers: tuple[float, ...] = ()


NONE = Act()


@dataclass(frozen=True)
class Weight:
    """A constant: a weight of 2 to 4 dimensions; a bias, or the scales of output channels, of 1.

    positions, values: node inputs that hold the arrays; positions is None for the coding `dense`. block: outputs and
    inputs of the blocks that the coding counts instead of single weights.
    """

    coding: Coding
    value_type: ValueType
    dims: tuple[int, ...]
    positions: int | None
    values: int
    block: Pair | None = None


@dataclass(frozen=True)
class Quantized:
    """How a tensor of bytes is to be read: (byte - zero) * scale, the scale as float32."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Window:
    """Kernel, stride and dilation as (vertical, horizontal); pads as top, left, bottom, right."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)


@dataclass(frozen=True)
class Load:
    """Node input `source`, [N, channels, H, W]; with `rows`, [N, channels] as a plane of 1x1."""

    source: int
    channels: int
    rows: bool = False


@dataclass(frozen=True)
class Conv:
    """act(convolution(x) + bias + add). weight and bias count the weights of the program, the rest tensors."""

    x: int
    weight: int
    bias: int | None = None
    window: Window = Window()
    groups: int = 1
    add: int | None = None
    act: Act = NONE


@dataclass(frozen=True)
class ConvTranspose:
    """act(transposed convolution(x) + bias) whose stride is its kernel; the weight is [IC, OC, kh, kw]."""

    x: int
    weight: int
    bias: int | None
    kernel: Pair
    act: Act = NONE


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; padding never wins."""

    x: int
    window: Window


@dataclass(frozen=True)
class Resize:
    """x brought to the plane of `like` by nearest neighbors: source index = floor(i * in / out).

    linear: instead by bilinear means, at (i + 1/2) * in / out - 1/2 for `half_pixel` and i * in / out for `asymmetric`.
    """

    x: int
    like: int
    linear: Linear | None = None


@dataclass(frozen=True)
class Add:
    """act(a + b) of two tensors of one shape."""

    a: int
    b: int
    act: Act = NONE


@dataclass(frozen=True)
class Activate:
    """act(x)."""

    x: int
    act: Act


@dataclass(frozen=True)
class Concat:
    """Tensors of one plane, one behind the other along the channels."""

    parts: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """Channels start to stop - 1."""

    x: int
    start: int
    stop: int


@dataclass(frozen=True)
class Quantize:
    """Bytes from float32: clamp(round_half_even(x / scale) + zero, 0, 255)."""

    x: int
    out: Quantized


@dataclass(frozen=True)
class QConv:
    """act(convolution(x) + bias + add) of bytes with weights of 8 bits, summed in integers.

    scales: float32 scales of the weight's output channels. bias: integers in units of x's scale times the weight's.
    out: None makes float32, and adds nothing.
    """

    x: int
    weight: int
    scales: int
    bias: int | None = None
    window: Window = Window()
    groups: int = 1
    add: int | None = None
    act: Act = NONE
    out: Quantized | None = None


@dataclass(frozen=True)
class QConvTranspose:
    """act(transposed convolution(x) + bias) of bytes whose stride is its kernel; constants and `out` as of QConv."""

    x: int
    weight: int
    scales: int
    bias: int | None
    kernel: Pair
    act: Act = NONE
    out: Quantized | None = None


@dataclass(frozen=True)
class QAdd:
    """act(a + b) of two tensors of bytes, rounded once."""

    a: int
    b: int
    act: Act
    out: Quantized


@dataclass(frozen=True)
class Requantize:
    """act(x) of bytes, with another scale and zero point."""

    x: int
    act: Act
    out: Quantized


@dataclass(frozen=True)
class Dequantize:
    """(x - zero) * scale as float32."""

    x: int


Instruction = (
    Load
    | Conv
    | ConvTranspose
    | MaxPool
    | Resize
    | Add
    | Activate
    | Concat
    | Slice
    | Quantize
    | QConv
    | QConvTranspose
    | QAdd
    | Requantize
    | Dequantize
)


@dataclass(frozen=True)
class Output:
    """A tensor that the node returns: [N, C, H, W], or [N, C] with `rows`."""

    tensor: int
    rows: bool = False


@dataclass(frozen=True)
class Program:
    """A region. inputs: number of activations, which are the first inputs of the node.

    Instruction i makes tensor i.
    """

    inputs: int
    weights: tuple[Weight, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Output, ...]

    @property
    def node_inputs(self) -> int:
        """Number of inputs that the node has."""
        return self.inputs + sum(1 if weight.positions is None else 2 for weight in self.weights)


def arguments(step: Instruction) -> tuple[int, ...]:
    """Tensors that an instruction reads."""
    match step:
        case Load():
            return ()
        case Conv(x=x, add=add) | QConv(x=x, add=add):
            return (x,) if add is None else (x, add)
        case Resize(x=x, like=like):
            return (x, like)
        case Add(a=a, b=b) | QAdd(a=a, b=b):
            return (a, b)
        case Concat(parts=parts):
            return parts
        case _:
            return (step.x,)


def constants(step: Instruction) -> tuple[int, ...]:
    """Weights, scales and biases that an instruction reads."""
    if isinstance(step, QConv | QConvTranspose):
        return (step.weight, step.scales) if step.bias is None else (step.weight, step.scales, step.bias)
    if isinstance(step, Conv | ConvTranspose):
        return (step.weight,) if step.bias is None else (step.weight, step.bias)
    return ()
