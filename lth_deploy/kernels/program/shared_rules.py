"""Rules that several operators share: of windows, biases, scales and quantized results."""

from collections.abc import Sequence

from lth_deploy.kernels.program.instruction import Declarations
from lth_deploy.kernels.program.limits import MAX_DILATION, MAX_KERNEL, MAX_PAD, MAX_STRIDE, SCALES, require
from lth_deploy.kernels.program.values import Quantized, TensorType, Window
from lth_deploy.kernels.program.weights import FLOAT_TYPES, ValueType


def check_window(window: Window) -> None:
    """Kernel, stride, pads and dilation are within the limits.

    Raises:
        RuleError: one is not.
    """
    limits: Sequence[tuple[str, tuple[int, ...], int, int]] = (
        ("kernel", window.kernel, 1, MAX_KERNEL),
        ("stride", window.stride, 1, MAX_STRIDE),
        ("pads", window.pads, 0, MAX_PAD),
        ("dilation", window.dilation, 1, MAX_DILATION),
    )
    for name, values, least, most in limits:
        require(all(least <= value <= most for value in values), f"{name} {values}, allowed are {least} to {most}")
    reach = [k * d for k, d in zip(window.kernel, window.dilation, strict=True)] * 2
    require(all(pad < most for pad, most in zip(window.pads, reach, strict=True)), "pads reach past the kernel")


def check_same_channels(given: Sequence[TensorType]) -> None:
    """Two operands have as many channels as each other.

    Raises:
        RuleError: they have not.
    """
    a, b = given
    require(a.channels == b.channels, f"{a.channels} and {b.channels} channels do not fit together")


def check_bias(bias: int | None, channels: int, declared: Declarations, types: tuple[ValueType, ...]) -> None:
    """A bias, where there is one, has a value of these types for each channel.

    Raises:
        RuleError: it has not.
    """
    if bias is None:
        return
    weight = declared.weights[bias]
    weight.check_type(types, f"the bias w{bias}")
    shape = list(weight.dims)
    require(weight.dims == (channels,), f"the bias w{bias} has the shape {shape}, needed is [{channels}]")


def check_channel_values(constants: Sequence[int], channels: int, declared: Declarations) -> None:
    """Constants have a float for each channel: as [C], or with the dimensions in which they multiply a tensor.

    Raises:
        RuleError: one has not.
    """
    for constant in constants:
        weight = declared.weights[constant]
        weight.check_type(FLOAT_TYPES, f"w{constant}")
        needed, found = [(channels,), (channels, 1, 1), (1, channels, 1, 1)], list(weight.dims)
        require(weight.dims in needed, f"w{constant} has the shape {found}, needed is a value for each channel")


def check_scales_of(scales: int, channels: int, declared: Declarations) -> None:
    """The scales of a weight are float32, one for each output channel.

    Raises:
        RuleError: they are not.
    """
    weight = declared.weights[scales]
    fits = weight.dims == (channels,) and weight.coding == "dense" and weight.value_type == "f32"
    require(fits, f"the scales w{scales} must be dense f32, [{channels}]")


def checked_out(out: Quantized) -> Quantized:
    """The scale and zero point of a quantized result.

    Raises:
        RuleError: one is out of range.
    """
    low, high = SCALES
    require(low <= out.scale <= high, f"the scale {out.scale:.9g}, allowed are {low:g} to {high:g}")
    require(0 <= out.zero <= 255, f"the zero point {out.zero}, allowed are 0 to 255")
    return out
