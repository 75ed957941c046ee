"""The lines of a region program, as `text.py` writes them."""

from lth_deploy.kernels.program.line import joined
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.weights import Weight

MAGIC = "lth_region"


def lines_of(program: Program) -> list[str]:
    """The lines of a program, whether or not it keeps the rules."""
    weights = [_weight_line(weight) for weight in program.weights]
    steps = [f"t{number} = {step.text()}" for number, step in enumerate(program.instructions)]
    outputs = [f"output t{output.tensor}{' rows' if output.rows else ''}" for output in program.outputs]
    return [f"{MAGIC} {program.version}", f"inputs {program.inputs}", *weights, *steps, *outputs]


def _weight_line(weight: Weight) -> str:
    inputs = str(weight.values) if weight.positions is None else f"{weight.positions},{weight.values}"
    coding = weight.coding if weight.block is None else f"{weight.coding}:{weight.block[0]}x{weight.block[1]}"
    return f"weight {coding} {weight.value_type} {joined(weight.dims)} at {inputs}"
