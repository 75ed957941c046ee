"""The text of a region program: what the attribute `program` of a node holds. See export/REGION.md."""

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.instructions import (
    Act,
    Activate,
    ActKind,
    Add,
    Coding,
    Concat,
    Conv,
    ConvTranspose,
    Instruction,
    Load,
    MaxPool,
    Output,
    Pads,
    Pair,
    Program,
    Resize,
    Slice,
    ValueType,
    Weight,
    Window,
)
from lth_deploy.kernels.rules import MAX_INSTRUCTIONS, MAX_OUTPUTS, MAX_TEXT, MAX_WEIGHTS, RuleError, check

HEADER = "lth_region 1"
MAX_LINES = MAX_INSTRUCTIONS + MAX_WEIGHTS + MAX_OUTPUTS + 2

T = TypeVar("T")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def text(program: Program) -> str:
    """The one text of a program.

    Raises:
        ArtifactError: the program breaks a rule.
    """
    try:
        check(program)
    except RuleError as error:
        raise ArtifactError(f"region program, {error.place or 'as a whole'}: {error}") from error
    return "".join(f"{line}\n" for line in _lines(program))


def parse(source: str, node_inputs: int | None = None) -> Program:
    """The program that a text describes; only the text that `text` writes for it is accepted.

    node_inputs: number of inputs of the node, where there is one.

    Raises:
        ArtifactError: names the line and the rule that it breaks.
    """
    if len(source) > MAX_TEXT:
        raise ArtifactError(f"region program: {len(source)} characters, at most {MAX_TEXT} are allowed")
    lines = source.split("\n")
    if lines.pop() != "":
        _fail(len(lines) + 1, "the last line must end with a line break")
    if len(lines) > MAX_LINES:
        raise ArtifactError(f"region program: {len(lines)} lines, at most {MAX_LINES} are allowed")
    program = _read(lines)
    canonical = _lines(program)
    for number, (found, wanted) in enumerate(zip(lines, canonical, strict=True), start=1):
        if found != wanted:
            _fail(number, f"found '{found:.80}', write it as '{wanted:.80}'")
    try:
        check(program)
    except RuleError as error:
        _fail(_line_of(program, error.place), str(error))
    if node_inputs is not None and program.node_inputs != node_inputs:
        raise ArtifactError(
            f"region program: it reads {program.node_inputs} inputs, the node has {node_inputs}; export again"
        )
    return program


def _fail(number: int, rule: str) -> NoReturn:
    raise ArtifactError(f"region program, line {number}: {rule}")


def _line_of(program: Program, place: str) -> int:
    """Line of a weight, tensor or output; the head of the program for what concerns all of it."""
    digits = place[1:] if place.startswith("t") else place.partition(" ")[2]
    if not digits:
        return 2
    first = {"w": 3, "t": 3 + len(program.weights), "o": 3 + len(program.weights) + len(program.instructions)}
    return first[place[0]] + int(digits)


# ---- writing


def _lines(program: Program) -> list[str]:
    weights = [_weight_line(weight) for weight in program.weights]
    steps = [f"t{number} = {_step_line(step)}" for number, step in enumerate(program.instructions)]
    outputs = [f"output t{output.tensor}{' rows' if output.rows else ''}" for output in program.outputs]
    return [HEADER, f"inputs {program.inputs}", *weights, *steps, *outputs]


def _weight_line(weight: Weight) -> str:
    inputs = str(weight.values) if weight.positions is None else f"{weight.positions},{weight.values}"
    return f"weight {weight.coding} {weight.value_type} {_joined(weight.dims)} at {inputs}"


def _step_line(step: Instruction) -> str:
    match step:
        case Load():
            return f"{'loadrows' if step.rows else 'load'} {step.source} channels={step.channels}"
        case Conv():
            added = "" if step.add is None else f" add=t{step.add}"
            act = _act_text(step.act)
            weights = f"w{step.weight} {_bias_text(step.bias)}"
            return f"conv t{step.x} {weights} {_window_text(step.window)} groups={step.groups}{added} act={act}"
        case ConvTranspose():
            kernel = _joined(step.kernel)
            head = f"convtranspose t{step.x} w{step.weight} {_bias_text(step.bias)}"
            return f"{head} kernel={kernel} stride={kernel} act={_act_text(step.act)}"
        case MaxPool():
            return f"maxpool t{step.x} {_window_text(step.window)}"
        case Resize():
            return f"resize t{step.x} like=t{step.like}"
        case Add():
            return f"add t{step.a} t{step.b} act={_act_text(step.act)}"
        case Activate():
            return f"act t{step.x} act={_act_text(step.act)}"
        case Concat():
            return f"concat {' '.join(f't{part}' for part in step.parts)}"
        case Slice():
            return f"slice t{step.x} from={step.start} to={step.stop}"


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _bias_text(bias: int | None) -> str:
    return "-" if bias is None else f"w{bias}"


def _act_text(act: Act) -> str:
    return ":".join([act.kind, *(f"{number:.9g}" for number in act.numbers)])


def _window_text(window: Window) -> str:
    parts = (("kernel", window.kernel), ("stride", window.stride), ("pads", window.pads), ("dilation", window.dilation))
    return " ".join(f"{name}={_joined(values)}" for name, values in parts)


# ---- reading: loose, because `parse` compares every line with the one that would be written for it


def _read(lines: list[str]) -> Program:
    if lines[:1] != [HEADER]:
        _fail(1, f"the first line must be '{HEADER}'")
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
        _fail(number, rule)


def _line(number: int, line: str, read: Callable[[list[str]], T]) -> T:
    try:
        return read(line.split(" "))
    except (ValueError, IndexError, KeyError) as error:
        return _fail(number, f"'{line:.80}' is malformed: {error}")


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
    return Weight(cast(Coding, coding), cast(ValueType, value_type), _numbers(dims), positions, at[-1])


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


def _read_conv_transpose(plain: list[str], keys: dict[str, str]) -> ConvTranspose:
    x, weight, bias = plain
    return ConvTranspose(_tensor(x), _named(weight, "w"), _bias(bias), _pair(keys["kernel"]), _read_act(keys["act"]))


def _read_add(plain: list[str], keys: dict[str, str]) -> Add:
    a, b = plain
    return Add(_tensor(a), _tensor(b), _read_act(keys["act"]))


_STEPS: dict[str, Callable[[list[str], dict[str, str]], Instruction]] = {
    "load": lambda plain, keys: Load(_number(plain[0]), _number(keys["channels"])),
    "loadrows": lambda plain, keys: Load(_number(plain[0]), _number(keys["channels"]), rows=True),
    "conv": _read_conv,
    "convtranspose": _read_conv_transpose,
    "maxpool": lambda plain, keys: MaxPool(_tensor(plain[0]), _read_window(keys)),
    "resize": lambda plain, keys: Resize(_tensor(plain[0]), _tensor(keys["like"])),
    "add": _read_add,
    "act": lambda plain, keys: Activate(_tensor(plain[0]), _read_act(keys["act"])),
    "concat": lambda plain, _: Concat(tuple(_tensor(part) for part in plain)),
    "slice": lambda plain, keys: Slice(_tensor(plain[0]), _number(keys["from"]), _number(keys["to"])),
}
