"""The rules of a region program that need neither data nor shapes: its head, weights, order and outputs."""

import math

from lth_deploy.kernels.program.instructions import Load, Pair, Program, Weight, arguments, constants
from lth_deploy.kernels.program.limits import (
    MAX_ALL_ELEMENTS,
    MAX_CHANNELS,
    MAX_INPUTS,
    MAX_INSTRUCTIONS,
    MAX_OUTPUTS,
    MAX_WEIGHT_ELEMENTS,
    MAX_WEIGHTS,
    need,
)
from lth_deploy.kernels.program.rules_instructions import Made, made_by

CODINGS = ("dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16")
VALUE_TYPES = ("f32", "f16", "s8", "s32")
BLOCKS = ((2, 1), (1, 4), (2, 4))


def check(program: Program) -> tuple[Made, ...]:
    """Hold a program to every rule that its text alone decides; return what is known of its tensors.

    Raises:
        RuleError: what is wrong, and where.
    """
    _count("inputs", program.inputs, 1, MAX_INPUTS)
    _count("weights", len(program.weights), 0, MAX_WEIGHTS)
    _count("instructions", len(program.instructions), 1, MAX_INSTRUCTIONS)
    _count("outputs", len(program.outputs), 1, MAX_OUTPUTS)
    _weights(program)
    made: list[Made] = []
    for number, step in enumerate(program.instructions):
        place = f"t{number}"
        for argument in arguments(step):
            need(0 <= argument < number, place, f"t{argument} is no earlier tensor")
        for constant in constants(step):
            need(0 <= constant < len(program.weights), place, f"w{constant} is no weight of the program")
        result = made_by(step, made, program.weights, program.inputs, place)
        need(
            1 <= result.channels <= MAX_CHANNELS, place, f"{result.channels} channels, allowed are 1 to {MAX_CHANNELS}"
        )
        made.append(result)
        need(all(made[a].rows == result.rows for a in arguments(step)), place, "it mixes rows and planes")
    _outputs(program, made)
    _all_used(program)
    return tuple(made)


def _count(what: str, number: int, least: int, most: int) -> None:
    need(least <= number <= most, "", f"{number} {what}, allowed are {least} to {most}")


def _weights(program: Program) -> None:
    following, total = program.inputs, 0
    for number, weight in enumerate(program.weights):
        place = f"weight {number}"
        _weight(weight, place)
        total += math.prod(weight.dims)
        if weight.coding != "dense":
            need(weight.positions == following, place, f"its positions must be node input {following}")
            following += 1
        need(weight.values == following, place, f"its values must be node input {following}")
        following += 1
    need(total <= MAX_ALL_ELEMENTS, "", f"the weights have {total} elements, at most {MAX_ALL_ELEMENTS}")


def _weight(weight: Weight, place: str) -> None:
    need(weight.coding in CODINGS, place, f"unknown coding '{weight.coding}'")
    need(weight.value_type in VALUE_TYPES, place, f"unknown value type '{weight.value_type}'")
    need((weight.positions is None) == (weight.coding == "dense"), place, "all codings but dense have positions")
    need(len(weight.dims) in (1, 2, 4), place, f"{len(weight.dims)} dimensions, allowed are 1, 2 and 4")
    need(all(dim >= 1 for dim in weight.dims), place, "a dimension is below 1")
    elements = math.prod(weight.dims)
    need(elements <= MAX_WEIGHT_ELEMENTS, place, f"{elements} elements, at most {MAX_WEIGHT_ELEMENTS}")
    if weight.block is not None:
        _block(weight.block, weight, place)
    need(
        weight.value_type != "s32" or (weight.coding == "dense" and len(weight.dims) == 1),
        place,
        "s32 is for dense biases of one dimension",
    )


def _block(block: Pair, weight: Weight, place: str) -> None:
    need(block in BLOCKS, place, f"unknown blocks of {block[0]}x{block[1]}, allowed are 2x1, 1x4 and 2x4")
    need(weight.coding != "dense", place, "dense weights have no blocks")
    whole = len(weight.dims) > 1 and all(dim % side == 0 for dim, side in zip(weight.dims, block, strict=False))
    need(whole, place, f"{list(weight.dims)} is no whole number of blocks of {block[0]}x{block[1]}")


def _outputs(program: Program, made: list[Made]) -> None:
    seen: set[int] = set()
    for number, output in enumerate(program.outputs):
        place = f"output {number}"
        need(0 <= output.tensor < len(made), place, f"t{output.tensor} does not exist")
        need(output.rows == made[output.tensor].rows, place, "`rows` belongs to tensors that come from loadrows, only")
        need(made[output.tensor].quantized is None, place, f"t{output.tensor} has bytes, a node returns float32")
        need(output.tensor not in seen, place, f"t{output.tensor} is an output twice")
        seen.add(output.tensor)


def _all_used(program: Program) -> None:
    read = {argument for step in program.instructions for argument in arguments(step)}
    read |= {output.tensor for output in program.outputs}
    for number in range(len(program.instructions)):
        need(number in read, f"t{number}", "nobody uses this tensor")
    used = {constant for step in program.instructions for constant in constants(step)}
    for number in range(len(program.weights)):
        need(number in used, f"weight {number}", "nobody uses this weight")
    loaded = [step.source for step in program.instructions if isinstance(step, Load)]
    need(sorted(loaded) == list(range(program.inputs)), "", "every activation input must be loaded, once")
