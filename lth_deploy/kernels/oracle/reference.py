"""The oracle: what a region program computes, in float64, and how far a kernel may be from it.

Slow and plain on purpose: it runs the oracle of each instruction. What depends on quantized values alone is exact; a
bound above zero comes from float32 before it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.instruction import AnyFloat, Operands
from lth_deploy.kernels.program.numerics.bounds import Float, Tensor
from lth_deploy.kernels.program.ops.load import LoadTokens
from lth_deploy.kernels.program.program import Program

Constant = npt.NDArray[np.generic]


def run(program: Program, weights: Sequence[Constant], inputs: Sequence[AnyFloat]) -> list[Float]:
    """Outputs of a checked program; weights in the order of the program, decoded and in their dims.

    Raises:
        ArtifactError: an input does not fit the program.
    """
    return [tensor.value for tensor in run_bounded(program, weights, inputs)]


def run_bounded(program: Program, weights: Sequence[Constant], inputs: Sequence[AnyFloat]) -> list[Tensor]:
    """Outputs with the error bound of each element; see `run`."""
    tensors: list[Tensor] = []
    decoded = [np.asarray(weight, np.float64) for weight in weights]
    operands = Operands(tensors, decoded, inputs, bf16=program.bf16_weights)
    for number, step in enumerate(program.instructions):
        try:
            tensors.append(step.oracle(operands))
        except ValueError as error:
            raise ArtifactError(f"region, t{number}: {error}") from error
    tokens = [step.source for step in program.instructions if isinstance(step, LoadTokens)]
    before = tuple(inputs[tokens[0]].shape[:2]) if tokens else (-1,)
    outputs = [(tensors[output.tensor], output.rows) for output in program.outputs]
    return [_as_rows(tensor, before) if rows else tensor for tensor, rows in outputs]


def _as_rows(tensor: Tensor, before: tuple[int, ...]) -> Tensor:
    """before: the dimensions before the channels."""
    channels = tensor.value.shape[1]
    return Tensor(tensor.value.reshape(*before, channels), tensor.bound.reshape(*before, channels))
