"""The rules of a region program that need neither data nor shapes: its head, weights, order and outputs."""

import math
from functools import lru_cache

from lth_deploy.kernels.program.instruction import Declarations
from lth_deploy.kernels.program.limits import (
    MAX_ALL_ELEMENTS,
    MAX_CHANNELS,
    MAX_INPUTS,
    MAX_INSTRUCTIONS,
    MAX_OUTPUTS,
    MAX_WEIGHTS,
    at,
    require,
)
from lth_deploy.kernels.program.ops.load import AnyLoad
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import TensorType

_PROGRAMS = 64
"""Programs whose types are kept: a gate looks at one again and again, returning other tensors of it."""


@lru_cache(_PROGRAMS)
def check(program: Program) -> tuple[TensorType, ...]:
    """Check every rule that the text of a program alone decides; return the types of its tensors.

    Raises:
        RuleError: what is wrong, and where.
    """
    _count("inputs", program.inputs, 1, MAX_INPUTS)
    _count("weights", len(program.weights), 0, MAX_WEIGHTS)
    _count("instructions", len(program.instructions), 1, MAX_INSTRUCTIONS)
    _count("outputs", len(program.outputs), 1, MAX_OUTPUTS)
    _check_weights(program)
    types: list[TensorType] = []
    for number in range(len(program.instructions)):
        with at(f"t{number}"):
            types.append(_checked(program, number, types))
    _check_outputs(program, types)
    _check_all_used(program)
    return tuple(types)


def _count(what: str, number: int, least: int, most: int) -> None:
    require(least <= number <= most, f"{number} {what}, allowed are {least} to {most}")


def _check_weights(program: Program) -> None:
    following, total = program.inputs, 0
    for number, weight in enumerate(program.weights):
        with at(f"weight {number}"):
            weight.check()
            total += math.prod(weight.dims)
            if weight.coding != "dense":
                require(weight.positions == following, f"its positions must be node input {following}")
                following += 1
            require(weight.values == following, f"its values must be node input {following}")
            following += 1
    require(total <= MAX_ALL_ELEMENTS, f"the weights have {total} elements, at most {MAX_ALL_ELEMENTS}")


def _checked(program: Program, number: int, types: list[TensorType]) -> TensorType:
    """The type of a tensor whose instruction keeps the rules; types: those of the tensors before it."""
    step = program.instructions[number]
    for argument in step.arguments:
        require(0 <= argument < number, f"t{argument} is no earlier tensor")
    for constant in step.constants:
        require(0 <= constant < len(program.weights), f"w{constant} is no weight of the program")
    given = [types[argument] for argument in step.arguments]
    result = step.checked_result(given, Declarations(program.inputs, program.weights))
    require(1 <= result.channels <= MAX_CHANNELS, f"{result.channels} channels, allowed are 1 to {MAX_CHANNELS}")
    require(all(tensor.rows == result.rows for tensor in given), "it mixes rows and planes")
    return result


def _check_outputs(program: Program, types: list[TensorType]) -> None:
    seen: set[int] = set()
    for number, output in enumerate(program.outputs):
        with at(f"output {number}"):
            _check_output(output, types, seen)
            seen.add(output.tensor)


def _check_output(output: Output, types: list[TensorType], seen: set[int]) -> None:
    require(0 <= output.tensor < len(types), f"t{output.tensor} does not exist")
    tensor = types[output.tensor]
    require(output.rows == tensor.rows, "`rows` belongs to tensors that come from loadrows or loadtokens, only")
    require(tensor.quantized is None, f"t{output.tensor} is quantized, a node returns float32")
    require(output.tensor not in seen, f"t{output.tensor} is an output twice")


def _check_all_used(program: Program) -> None:
    read = {argument for step in program.instructions for argument in step.arguments}
    read |= {output.tensor for output in program.outputs}
    for number in range(len(program.instructions)):
        with at(f"t{number}"):
            require(number in read, "nobody uses this tensor")
    used = {constant for step in program.instructions for constant in step.constants}
    for number in range(len(program.weights)):
        with at(f"weight {number}"):
            require(number in used, "nobody uses this weight")
    loads = [step for step in program.instructions if isinstance(step, AnyLoad)]
    loaded = sorted(step.source for step in loads)
    require(loaded == list(range(program.inputs)), "every activation input must be loaded, once")
    ranks = {step.rank for step in loads}
    require(not {2, 3} <= ranks, "loadrows and loadtokens in one program")
