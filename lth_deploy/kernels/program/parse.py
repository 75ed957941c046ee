"""What the lines of a region program mean."""

import re
from collections.abc import Callable
from typing import TypeVar, cast

from lth_deploy.kernels.program.format import HEADER
from lth_deploy.kernels.program.instructions import (
    Act,
    Activate,
    ActKind,
    Add,
    Coding,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Linear,
    Load,
    MaxPool,
    Output,
    Pads,
    Pair,
    Program,
    QAdd,
    QConv,
    QConvTranspose,
    Quantize,
    Quantized,
    Requantize,
    Resize,
    Slice,
    ValueType,
    Weight,
    Window,
)

T = TypeVar("T")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


class LineError(ValueError):
    """Line `number` has no meaning, and why."""

    def __init__(self, number: int, rule: str) -> None:
        super().__init__(rule)
        self.number = number


def read(lines: list[str]) -> Program:
    """What the lines mean, read loosely: the caller compares every line with the one that would be written for it.

    Raises:
        LineError: a line means nothing.
    """
    if lines[:1] != [HEADER]:
        raise LineError(1, f"the first line must be '{HEADER}'")
    weights: list[Weight] = []
    steps: list[Instruction] = []
    outputs: list[Output] = []
    inputs = _line(2, lines[1] if len(lines) > 1 else "", lambda fields: _number(fields[1]))
    for number, line in enumerate(lines[2:], start=3):
        kind = line.split(" ", 1)[0]
        if kind == "weight":
            _need(number, not steps and not outputs, "weights stand before the first instruction")
            weights.append(_line(number, line, _read_weight))
        elif kind == "output":
            outputs.append(_line(number, line, lambda f: Output(_tensor(f[1]), len(f) > 2)))
        else:
            _need(number, not outputs, "outputs stand at the end")
            _need(number, kind == f"t{len(steps)}", f"expected t{len(steps)} or an output, found '{kind:.40}'")
            steps.append(_line(number, line, _read_step))
    return Program(inputs, tuple(weights), tuple(steps), tuple(outputs))


def _need(number: int, holds: bool, rule: str) -> None:
    if not holds:
        raise LineError(number, rule)


def _line(number: int, line: str, read: Callable[[list[str]], T]) -> T:
    try:
        return read(line.split(" "))
    except (ValueError, IndexError, KeyError) as error:
        raise LineError(number, f"'{line:.80}' is malformed: {error}") from error


def _number(field: str) -> int:
    if not _NUMBER.fullmatch(field):
        raise ValueError(f"'{field:.40}' is no number")
    return int(field)


def _named(field: str, letter: str) -> int:
    if not field.startswith(letter):
        raise ValueError(f"'{field:.40}' should be {letter} and a number")
    return _number(field[len(letter) :])


def _tensor(field: str) -> int:
    return _named(field, "t")


def _bias(field: str) -> int | None:
    return None if field == "-" else _named(field, "w")


def _numbers(field: str) -> tuple[int, ...]:
    return tuple(_number(part) for part in field.split(",", 8))


def _read_weight(fields: list[str]) -> Weight:
    _, coding, value_type, dims, _, inputs = fields
    at = _numbers(inputs)
    if len(at) not in (1, 2):
        raise ValueError("one or two inputs are needed")
    positions = at[0] if len(at) == 2 else None
    name, _, block = coding.partition(":")
    sides = _sides(block) if block else None
    return Weight(cast(Coding, name), cast(ValueType, value_type), _numbers(dims), positions, at[-1], sides)


def _sides(block: str) -> Pair:
    outputs, inputs = block.split("x")
    return _number(outputs), _number(inputs)


def _read_step(fields: list[str]) -> Instruction:
    _, _, name, *rest = fields
    plain = [field for field in rest if "=" not in field]
    keys = dict(field.split("=", 1) for field in rest if "=" in field)
    return _STEPS[name](plain, keys)


def _read_act(field: str) -> Act:
    kind, *numbers = field.split(":", 3)
    if any(len(number) > 24 for number in numbers):
        raise ValueError("a number of the activation is too long")
    return Act(cast(ActKind, kind), tuple(float(number) for number in numbers))


def _pair(field: str) -> Pair:
    first, second = _numbers(field)
    return first, second


def _pads(field: str) -> Pads:
    top, left, bottom, right = _numbers(field)
    return top, left, bottom, right


def _read_window(keys: dict[str, str]) -> Window:
    return Window(_pair(keys["kernel"]), _pair(keys["stride"]), _pads(keys["pads"]), _pair(keys["dilation"]))


def _read_conv(plain: list[str], keys: dict[str, str]) -> Conv:
    x, weight, bias = plain
    add = _tensor(keys["add"]) if "add" in keys else None
    window, act = _read_window(keys), _read_act(keys["act"])
    return Conv(_tensor(x), _named(weight, "w"), _bias(bias), window, _number(keys["groups"]), add, act)


def _read_out(field: str) -> Quantized | None:
    if field == "f32":
        return None
    _, scale, zero = field.split(":")
    if len(scale) > 24:
        raise ValueError("the scale is too long")
    return Quantized(float(scale), _number(zero))


def _read_quantized(keys: dict[str, str]) -> Quantized:
    out = _read_out(keys["out"])
    if out is None:
        raise ValueError("it makes bytes, and needs out=u8")
    return out


def _read_qconv(plain: list[str], keys: dict[str, str]) -> QConv:
    x, weight, scales, bias = plain
    conv = _read_conv([x, weight, bias], keys)
    return QConv(
        conv.x,
        conv.weight,
        _named(scales, "w"),
        conv.bias,
        conv.window,
        conv.groups,
        conv.add,
        conv.act,
        _read_out(keys["out"]),
    )


def _read_qadd(plain: list[str], keys: dict[str, str]) -> QAdd:
    a, b = plain
    return QAdd(_tensor(a), _tensor(b), _read_act(keys["act"]), _read_quantized(keys))


def _read_conv_transpose(plain: list[str], keys: dict[str, str]) -> ConvTranspose:
    x, weight, bias = plain
    return ConvTranspose(_tensor(x), _named(weight, "w"), _bias(bias), _pair(keys["kernel"]), _read_act(keys["act"]))


def _read_qconv_transpose(plain: list[str], keys: dict[str, str]) -> QConvTranspose:
    x, weight, scales, bias = plain
    conv = _read_conv_transpose([x, weight, bias], keys)
    scales_of = _named(scales, "w")
    return QConvTranspose(conv.x, conv.weight, scales_of, conv.bias, conv.kernel, conv.act, _read_out(keys["out"]))


def _read_add(plain: list[str], keys: dict[str, str]) -> Add:
    a, b = plain
    return Add(_tensor(a), _tensor(b), _read_act(keys["act"]))


def _read_resize(plain: list[str], keys: dict[str, str]) -> Resize:
    return Resize(_tensor(plain[0]), _tensor(keys["like"]), cast(Linear | None, keys.get("linear")))


_STEPS: dict[str, Callable[[list[str], dict[str, str]], Instruction]] = {
    "load": lambda plain, keys: Load(_number(plain[0]), _number(keys["channels"])),
    "loadrows": lambda plain, keys: Load(_number(plain[0]), _number(keys["channels"]), rows=True),
    "conv": _read_conv,
    "convtranspose": _read_conv_transpose,
    "maxpool": lambda plain, keys: MaxPool(_tensor(plain[0]), _read_window(keys)),
    "resize": _read_resize,
    "add": _read_add,
    "act": lambda plain, keys: Activate(_tensor(plain[0]), _read_act(keys["act"])),
    "concat": lambda plain, _: Concat(tuple(_tensor(part) for part in plain)),
    "slice": lambda plain, keys: Slice(_tensor(plain[0]), _number(keys["from"]), _number(keys["to"])),
    "quantize": lambda plain, keys: Quantize(_tensor(plain[0]), _read_quantized(keys)),
    "qconv": _read_qconv,
    "qconvtranspose": _read_qconv_transpose,
    "qadd": _read_qadd,
    "requantize": lambda plain, keys: Requantize(_tensor(plain[0]), _read_act(keys["act"]), _read_quantized(keys)),
    "dequantize": lambda plain, _: Dequantize(_tensor(plain[0])),
}
