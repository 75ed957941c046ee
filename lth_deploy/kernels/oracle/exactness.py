"""How closely a kernel must follow the function of its region: what a program promises of each output."""

from lth_deploy.kernels.program.instructions import (
    Add,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Program,
    QAdd,
    QConv,
    QConvTranspose,
    Requantize,
)
from lth_deploy.kernels.program.rules import check

_CLAMPS = ("none", "relu", "clip")


def byte_steps(program: Program) -> list[float | None]:
    """For each output the scale of the bytes that it is read from; None for one that floats were computed for.

    Raises:
        RuleError: the program breaks a rule.
    """
    made = check(program)
    steps: list[float | None] = []
    for output in program.outputs:
        step = program.instructions[output.tensor]
        quantized = made[step.x].quantized if isinstance(step, Dequantize) else None
        steps.append(None if quantized is None else quantized.scale)
    return steps


def is_exact(program: Program) -> bool:
    """Whether all that a program does with bytes is what a stock runtime does, bit for bit.

    A fused addition or activation is rounded once where a stock runtime rounds twice, and floats may be summed in
    another order before they are rounded. It has no transposed convolution of bytes, and sums floats instead.
    """
    for step in program.instructions:
        if isinstance(step, QConv) and (step.add is not None or step.act.kind not in _CLAMPS):
            return False
        if isinstance(step, QAdd | QConvTranspose | Conv | ConvTranspose | Add):
            return False
        if isinstance(step, Requantize) and step.act.kind not in _CLAMPS:
            return False
    return True


def sums_floats(step: Instruction) -> bool:
    """Whether a stock runtime sums a layer between bytes in floats: it has no kernel of bytes for it."""
    if isinstance(step, QConv):
        return step.out is None or step.act.kind not in _CLAMPS
    return isinstance(step, QConvTranspose)


def reads_bytes(program: Program) -> bool:
    """Whether floats that a program makes may come from bytes."""
    return any(
        isinstance(step, QConv | QConvTranspose | QAdd | Requantize | Dequantize) for step in program.instructions
    )
