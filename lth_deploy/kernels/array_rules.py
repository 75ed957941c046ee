"""The rules of quantised convolutions that need the arrays of a program."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.instructions import Program, QConv, QConvTranspose
from lth_deploy.kernels.limits import MAX_SUM, WEIGHT_SCALES, need

Constant = npt.NDArray[np.generic]


def check_arrays(program: Program, weights: Sequence[Constant]) -> None:
    """Hold the decoded constants of a checked program, in their dims, to the rules of convolutions of bytes.

    Raises:
        RuleError: what is wrong, and with which weight.
    """
    for step in program.instructions:
        if isinstance(step, QConv | QConvTranspose):
            check_scales(weights[step.scales], f"weight {step.scales}")
            weight = weights[step.weight]
            by_output = weight.swapaxes(0, 1) if isinstance(step, QConvTranspose) else weight
            check_sums(by_output, None if step.bias is None else weights[step.bias], f"weight {step.weight}")


def check_scales(scales: Constant, place: str) -> None:
    """Scales of output channels are above zero and within range.

    Raises:
        RuleError: the first that is not.
    """
    low, high = WEIGHT_SCALES
    found = np.asarray(scales, np.float32)
    wrong = np.flatnonzero(~((found >= low) & (found <= high)))
    if wrong.size:
        need(False, place, f"scale {wrong[0]} is {found[wrong[0]]:.9g}, allowed are {low:g} to {high:g}")


def check_sums(weight: Constant, bias: Constant | None, place: str) -> None:
    """No sum of an output channel leaves 32 bits, whatever the bytes are.

    weight: [OC, ...].

    Raises:
        RuleError: the first channel where one may, or a weight of -128.
    """
    need(not np.any(weight == -128), place, "-128 is no value of a symmetric weight")
    rows = np.abs(weight.reshape(weight.shape[0], -1).astype(np.int64)).sum(axis=1) * 255
    if bias is not None:
        rows += np.abs(bias.astype(np.int64))
    wrong = np.flatnonzero(rows > MAX_SUM)
    if wrong.size:
        need(False, place, f"sums of output channel {wrong[0]} may leave 32 bits: {rows[wrong[0]]} > {MAX_SUM}")
