"""The rules of quantized layers that need the arrays of a program."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.limits import MAX_ACCUMULATOR, WEIGHT_SCALES, at, require
from lth_deploy.kernels.program.ops.conv import QConv, QMatMul
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.program import Program

Constant = npt.NDArray[np.generic]
Largest = npt.NDArray[np.int64]
"""For each output channel the largest magnitude of its accumulator."""


def check_constants(program: Program, weight_at: Callable[[int], Constant]) -> None:
    """Check the decoded constants of a checked program, in their dims, against the rules of quantized layers.

    weight_at: decodes the constant of a number; called only when it is needed, so that not all are kept at once.

    Raises:
        RuleError: what is wrong, and with which weight.
    """
    largest: dict[tuple[int, bool], Largest] = {}
    for step in program.instructions:
        if not isinstance(step, QConv | QConvTranspose | QMatMul):
            continue
        with at(f"weight {step.scales}"):
            check_scales(weight_at(step.scales))
        key = (step.weight, isinstance(step, QConvTranspose | QMatMul))
        with at(f"weight {step.weight}"):
            if key not in largest:  # many instructions may share a weight, which is not decoded for each of them
                weight = weight_at(step.weight)
                largest[key] = _largest_products(weight.swapaxes(0, 1) if key[1] else weight)
            _check_largest(largest[key], None if step.bias is None else weight_at(step.bias))


def check_scales(scales: Constant) -> None:
    """Scales of output channels are above zero and within range.

    Raises:
        RuleError: the first that is not.
    """
    low, high = WEIGHT_SCALES
    found = np.asarray(scales, np.float32)
    wrong = np.flatnonzero(~((found >= low) & (found <= high)))
    if wrong.size:
        require(False, f"scale {wrong[0]} is {found[wrong[0]]:.9g}, allowed are {low:g} to {high:g}")


def check_accumulators(weight: Constant, bias: Constant | None) -> None:
    """No accumulator of an output channel leaves 32 bits, whatever the quantized input is.

    weight: [OC, ...].

    Raises:
        RuleError: the first channel where one may, or a weight of -128.
    """
    _check_largest(_largest_products(weight), bias)


def _largest_products(weight: Constant) -> Largest:
    """Largest magnitude of the accumulator of each output channel, without the bias."""
    require(not np.any(weight == -128), "-128 is no value of a symmetric weight")
    sums = np.abs(weight).reshape(weight.shape[0], -1).sum(axis=1, dtype=np.int64)
    return np.asarray(sums * 255, np.int64)


def _check_largest(products: Largest, bias: Constant | None) -> None:
    largest = products if bias is None else products + np.abs(bias.astype(np.int64))
    wrong = np.flatnonzero(largest > MAX_ACCUMULATOR)
    if wrong.size:
        found = f"{largest[wrong[0]]} > {MAX_ACCUMULATOR}"
        require(False, f"accumulators of output channel {wrong[0]} may leave 32 bits: {found}")
