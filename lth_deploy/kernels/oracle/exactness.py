"""How closely a kernel must follow the function of its region: what a program promises of each output."""

from lth_deploy.kernels.program.ops.quantize import Dequantize
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check


def output_scales(program: Program) -> list[float | None]:
    """For each output that was dequantized its scale; None for one that was computed in float32.

    Raises:
        RuleError: the program breaks a rule.
    """
    types = check(program)
    scales: list[float | None] = []
    for output in program.outputs:
        step = program.instructions[output.tensor]
        quantized = types[step.x].quantized if isinstance(step, Dequantize) else None
        scales.append(None if quantized is None else quantized.scale)
    return scales


def is_exact(program: Program) -> bool:
    """Whether all that a program does with quantized tensors is what a stock runtime does, bit for bit.

    A fused addition or activation is rounded once where a stock runtime rounds twice, and floats may be summed in
    another order before they are rounded. A stock runtime has no quantized transposed convolution: it sums floats.
    """
    return all(step.stock_exact for step in program.instructions)


def reads_quantized(program: Program) -> bool:
    """Whether floats that a program makes may come from quantized tensors."""
    return any(step.TAKES == "quantized" for step in program.instructions)
