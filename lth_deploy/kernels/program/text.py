"""The text of a region program: what the attribute `program` of a node holds. See export/REGION.md."""

from typing import NoReturn

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.format import lines_of
from lth_deploy.kernels.program.limits import MAX_INSTRUCTIONS, MAX_OUTPUTS, MAX_TEXT, MAX_WEIGHTS, RuleError
from lth_deploy.kernels.program.parse import LineError, read
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check

MAX_LINES = MAX_INSTRUCTIONS + MAX_WEIGHTS + MAX_OUTPUTS + 2


def text(program: Program) -> str:
    """The one text of a program.

    Raises:
        ArtifactError: the program breaks a rule.
    """
    try:
        check(program)
    except RuleError as error:
        raise ArtifactError(f"region program, {error.place or 'as a whole'}: {error}") from error
    return "".join(f"{line}\n" for line in lines_of(program))


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
    try:
        program = read(lines)
    except LineError as error:
        _fail(error.number, str(error))
    canonical = lines_of(program)
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
