"""The rules of single instructions of a region program, and what follows of the tensors that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.instructions import (
    ACT_NUMBERS,
    Act,
    Activate,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Load,
    MaxPool,
    QAdd,
    QConv,
    QConvTranspose,
    Quantize,
    Quantized,
    Requantize,
    Resize,
    Slice,
    Weight,
    Window,
    arguments,
)
from lth_deploy.kernels.program.limits import MAX_DILATION, MAX_KERNEL, MAX_PAD, MAX_STRIDE, SCALES, need

QUAD = 4
"""Channels of bytes that lie together in the kernels' layout."""


@dataclass(frozen=True)
class Made:
    """What the text says about a tensor. quantized: None for float32."""

    channels: int
    rows: bool = False
    quantized: Quantized | None = None


def made_by(step: Instruction, made: Sequence[Made], weights: Sequence[Weight], inputs: int, place: str) -> Made:
    """The tensor of an instruction whose arguments exist; checks all that concerns this instruction alone.

    Raises:
        RuleError: what is wrong with it.
    """
    given = [made[argument] for argument in arguments(step)]
    match step:
        case Load():
            need(0 <= step.source < inputs, place, f"node input {step.source} is no activation")
            return Made(step.channels, step.rows)
        case Conv():
            _floats(given, place)
            return Made(_conv(step, given, weights, place), given[0].rows)
        case QConv():
            return _qconv(step, given, weights, place)
        case ConvTranspose():
            _floats(given, place)
            return Made(_conv_transpose(step, given[0], weights, place))
        case QConvTranspose():
            _bytes(given, place)
            _typed(weights[step.weight], ("s8",), f"w{step.weight}", place)
            return _made_by_sums(step, _transposed(step, given[0], weights, place), given[0], weights, place)
        case MaxPool():
            need(not given[0].rows, place, "rows have no plane")
            _window(step.window, place)
        case Resize():
            need(not given[0].rows, place, "rows have no plane")
            known = step.linear in (None, "half_pixel", "asymmetric")
            need(known, place, f"linear is half_pixel or asymmetric, found '{step.linear!s:.40}'")
        case Add() | QAdd():
            same = given[0].channels == given[1].channels
            need(same, place, f"{given[0].channels} and {given[1].channels} channels cannot be added")
            _act(step.act, place)
        case Activate():
            need(step.act.kind != "none", place, "an instruction of its own needs an activation")
            _act(step.act, place)
        case Requantize():
            _act(step.act, place)
        case Concat():
            return _concat(given, place)
        case Slice():
            return _slice(step, given[0], place)
        case Quantize() | Dequantize():
            pass
    return replace(given[0], quantized=_quantized(step, given, place))


def _quantized(step: Instruction, given: Sequence[Made], place: str) -> Quantized | None:
    """Scale and zero point of what an instruction makes that keeps the channels of its argument."""
    match step:
        case MaxPool() | Resize(linear=None):
            return given[0].quantized
        case Resize():
            _floats(given[:1], place)
        case Quantize():
            _floats(given, place)
            return _out(step.out, place)
        case QAdd() | Requantize():
            _bytes(given, place)
            return _out(step.out, place)
        case Dequantize():
            _bytes(given, place)
        case _:
            _floats(given, place)
    return None


def _floats(given: Sequence[Made], place: str) -> None:
    need(all(tensor.quantized is None for tensor in given), place, "it takes float32, an argument has bytes")


def _bytes(given: Sequence[Made], place: str) -> None:
    need(all(tensor.quantized is not None for tensor in given), place, "it takes bytes, an argument is float32")


def _out(out: Quantized, place: str) -> Quantized:
    low, high = SCALES
    need(low <= out.scale <= high, place, f"the scale {out.scale:.9g}, allowed are {low:g} to {high:g}")
    need(0 <= out.zero <= 255, place, f"the zero point {out.zero}, allowed are 0 to 255")
    return out


def _concat(given: Sequence[Made], place: str) -> Made:
    need(len(given) >= 2, place, "concat needs two tensors or more")
    same = all(tensor.quantized == given[0].quantized for tensor in given)
    need(same, place, "the parts of a concat have one type, one scale and one zero point")
    quads = given[0].quantized is None or all(tensor.channels % QUAD == 0 for tensor in given[:-1])
    need(quads, place, "of bytes, all parts of a concat but the last have a multiple of 4 channels")
    return replace(given[0], channels=sum(tensor.channels for tensor in given))


def _slice(step: Slice, x: Made, place: str) -> Made:
    need(0 <= step.start < step.stop <= x.channels, place, f"t{step.x} has channels 0 to {x.channels - 1}")
    need(x.quantized is None or step.start % QUAD == 0, place, "slices of bytes begin at a multiple of 4")
    return replace(x, channels=step.stop - step.start)


def _qconv(step: QConv, given: Sequence[Made], weights: Sequence[Weight], place: str) -> Made:
    _bytes(given, place)
    weight = weights[step.weight]
    _typed(weight, ("s8",), f"w{step.weight}", place)
    outputs = _convolution(step, given, weight.dims, place)
    if step.groups > 1:
        quads = weight.dims[1] % QUAD == 0 and (outputs // step.groups) % QUAD == 0
        need(quads, place, "groups of bytes take and make a multiple of 4 channels")
    need(step.out is not None or step.add is None, place, "nothing is added where float32 is made")
    return _made_by_sums(step, outputs, given[0], weights, place)


def _made_by_sums(step: QConv | QConvTranspose, outputs: int, x: Made, weights: Sequence[Weight], place: str) -> Made:
    """What sums of bytes are brought to by the scales of their channels."""
    scales = weights[step.scales]
    fits = scales.dims == (outputs,) and scales.coding == "dense" and scales.value_type == "f32"
    need(fits, place, f"the scales w{step.scales} must be dense f32, [{outputs}]")
    _bias(step.bias, outputs, weights, ("s32",), place)
    return Made(outputs, x.rows, None if step.out is None else _out(step.out, place))


def _conv(step: Conv, given: Sequence[Made], weights: Sequence[Weight], place: str) -> int:
    weight = weights[step.weight]
    _typed(weight, ("f32", "f16"), f"w{step.weight}", place)
    outputs = _convolution(step, given, weight.dims, place)
    _bias(step.bias, outputs, weights, ("f32", "f16"), place)
    return outputs


def _typed(weight: Weight, types: tuple[str, ...], name: str, place: str) -> None:
    need(
        weight.value_type in types, place, f"{name} has values of {weight.value_type}, needed are {' or '.join(types)}"
    )


def _convolution(step: Conv | QConv, given: Sequence[Made], dims: tuple[int, ...], place: str) -> int:
    """What holds for convolutions of either type; the channels that they make."""
    x = given[0]
    fits = len(dims) == 4 or (len(dims) == 2 and x.rows)
    need(fits, place, f"a weight of {len(dims)} dimensions does not fit")
    outputs, inputs, *kernel = (*dims, 1, 1)[:4]
    _window(step.window, place)
    need(tuple(kernel) == step.window.kernel, place, f"the kernel is not that of w{step.weight}, {kernel}")
    if x.rows:
        need(step.window == Window() and step.groups == 1, place, "rows take 1x1, stride 1, no pads and one group")
    groups = step.groups
    need(groups >= 1 and x.channels % groups == 0 and outputs % groups == 0, place, f"{groups} groups do not divide")
    taken = inputs * groups
    need(taken == x.channels, place, f"w{step.weight} takes {taken} channels, t{step.x} has {x.channels}")
    if step.add is not None:
        added = given[1].channels
        need(added == outputs, place, f"t{step.add} has {added} channels, {outputs} are made")
    _act(step.act, place)
    return outputs


def _conv_transpose(step: ConvTranspose, x: Made, weights: Sequence[Weight], place: str) -> int:
    _typed(weights[step.weight], ("f32", "f16"), f"w{step.weight}", place)
    outputs = _transposed(step, x, weights, place)
    _bias(step.bias, outputs, weights, ("f32", "f16"), place)
    return outputs


def _transposed(step: ConvTranspose | QConvTranspose, x: Made, weights: Sequence[Weight], place: str) -> int:
    """What holds for transposed convolutions of either type; the channels that they make."""
    dims = weights[step.weight].dims
    need(not x.rows, place, "rows have no plane")
    need(len(dims) == 4 and dims[2:] == step.kernel, place, f"the kernel is not that of w{step.weight}")
    _window(Window(step.kernel, step.kernel), place)
    need(dims[0] == x.channels, place, f"w{step.weight} takes {dims[0]} channels, t{step.x} has {x.channels}")
    _act(step.act, place)
    return dims[1]


def _bias(bias: int | None, channels: int, weights: Sequence[Weight], types: tuple[str, ...], place: str) -> None:
    if bias is None:
        return
    _typed(weights[bias], types, f"the bias w{bias}", place)
    dims = weights[bias].dims
    need(dims == (channels,), place, f"the bias w{bias} has the shape {list(dims)}, needed is [{channels}]")


def _window(window: Window, place: str) -> None:
    for name, values, least, most in (
        ("kernel", window.kernel, 1, MAX_KERNEL),
        ("stride", window.stride, 1, MAX_STRIDE),
        ("pads", window.pads, 0, MAX_PAD),
        ("dilation", window.dilation, 1, MAX_DILATION),
    ):
        need(all(least <= value <= most for value in values), place, f"{name} {values}, allowed are {least} to {most}")
    reach = [k * d for k, d in zip(window.kernel, window.dilation, strict=True)] * 2
    need(all(pad < most for pad, most in zip(window.pads, reach, strict=True)), place, "pads reach past the kernel")


def _act(act: Act, place: str) -> None:
    need(act.kind in ACT_NUMBERS and len(act.numbers) == ACT_NUMBERS[act.kind], place, "the activation is malformed")
    with np.errstate(over="ignore"):
        finite = all(bool(np.isfinite(np.float32(number))) for number in act.numbers)
    need(finite, place, "a number of the activation is not finite")
    need(act.kind != "clip" or act.numbers[0] <= act.numbers[1], place, "the bounds of clip are the wrong way round")
