"""What the lines of a region program mean."""

from collections.abc import Callable
from typing import TypeVar, cast

from lth_deploy.kernels.program.format import MAGIC
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.line import read_name, read_number, read_numbers
from lth_deploy.kernels.program.operators import OPERATORS, VERSION
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Pair
from lth_deploy.kernels.program.weights import Coding, ValueType, Weight

T = TypeVar("T")


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
    _check_version(lines[0] if lines else "")
    inputs = _line(2, lines[1] if len(lines) > 1 else "", lambda fields: read_number(fields[1]))
    weights: list[Weight] = []
    steps: list[Instruction] = []
    outputs: list[Output] = []
    for number, line in enumerate(lines[2:], start=3):
        kind = line.split(" ", 1)[0]
        if kind == "weight":
            if steps or outputs:
                raise LineError(number, "weights stand before the first instruction")
            weights.append(_line(number, line, _read_weight))
        elif kind == "output":
            outputs.append(_line(number, line, lambda f: Output(read_name(f[1], "t"), len(f) > 2)))
        elif outputs:
            raise LineError(number, "outputs stand at the end")
        elif kind != f"t{len(steps)}":
            raise LineError(number, f"expected t{len(steps)} or an output, found '{kind:.40}'")
        else:
            steps.append(_line(number, line, _read_instruction))
    return Program(inputs, tuple(weights), tuple(steps), tuple(outputs))


def _check_version(line: str) -> None:
    """The first line is that of a version that is known here; whether it is the right one is compared later."""
    name, _, text = line.partition(" ")
    if name != MAGIC:
        raise LineError(1, f"the first line must be '{MAGIC}' and a version")
    version = _line(1, line, lambda _: read_number(text))
    if version > VERSION:
        raise LineError(
            1,
            f"the program has version {version}, this lth_deploy reads versions 1 to {VERSION}; install a newer "
            "lth_deploy",
        )


def _line(number: int, line: str, read: Callable[[list[str]], T]) -> T:
    try:
        return read(line.split(" "))
    except (ValueError, IndexError) as error:
        reason = "a field is missing" if isinstance(error, IndexError) else str(error)
        raise LineError(number, f"'{line:.80}' is malformed: {reason}") from error


def _read_weight(fields: list[str]) -> Weight:
    _, coding, value_type, dims, _, inputs = fields
    at = read_numbers(inputs)
    if len(at) not in (1, 2):
        raise ValueError("one or two inputs are needed")
    positions = at[0] if len(at) == 2 else None
    name, _, block = coding.partition(":")
    sides = _sides(block) if block else None
    return Weight(cast(Coding, name), cast(ValueType, value_type), read_numbers(dims), positions, at[-1], sides)


def _sides(block: str) -> Pair:
    outputs, inputs = block.split("x")
    return read_number(outputs), read_number(inputs)


def _read_instruction(fields: list[str]) -> Instruction:
    _, _, name, *rest = fields
    if name not in OPERATORS:
        raise ValueError(f"there is no operator '{name:.40}'")
    operator, named = OPERATORS[name]
    return operator.read(rest, named)
