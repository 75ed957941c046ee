"""The rules of quantized convolutions that need the arrays of a program."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.instructions import Program, QConv, QConvTranspose
from lth_deploy.kernels.program.limits import MAX_SUM, WEIGHT_SCALES, need

Constant = npt.NDArray[np.generic]
Sums = npt.NDArray[np.int64]


def check_arrays(program: Program, weight_at: Callable[[int], Constant]) -> None:
    """Hold the decoded constants of a checked program, in their dims, to the rules of convolutions of bytes.

    weight_at: decodes the constant of a number; asked only when it is needed, so that not all are kept at once.

    Raises:
        RuleError: what is wrong, and with which weight.
    """
    known: dict[tuple[int, bool], Sums] = {}
    for step in program.instructions:
        if isinstance(step, QConv | QConvTranspose):
            check_scales(weight_at(step.scales), f"weight {step.scales}")
            key = (step.weight, isinstance(step, QConvTranspose))
            if key not in known:  # many steps may share a weight, which is not decoded for each of them
                weight = weight_at(step.weight)
                known[key] = _largest_sums(weight.swapaxes(0, 1) if key[1] else weight, f"weight {step.weight}")
            _check_sums(known[key], None if step.bias is None else weight_at(step.bias), f"weight {step.weight}")


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
    _check_sums(_largest_sums(weight, place), bias, place)


def _largest_sums(weight: Constant, place: str) -> Sums:
    """Largest magnitude of a sum of each output channel, without the bias."""
    need(not np.any(weight == -128), place, "-128 is no value of a symmetric weight")
    sums = np.abs(weight).reshape(weight.shape[0], -1).sum(axis=1, dtype=np.int64)
    return np.asarray(sums * 255, np.int64)


def _check_sums(sums: Sums, bias: Constant | None, place: str) -> None:
    rows = sums if bias is None else sums + np.abs(bias.astype(np.int64))
    wrong = np.flatnonzero(rows > MAX_SUM)
    if wrong.size:
        need(False, place, f"sums of output channel {wrong[0]} may leave 32 bits: {rows[wrong[0]]} > {MAX_SUM}")
