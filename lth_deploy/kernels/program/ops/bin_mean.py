"""`binmean`: means of bins under a softmax over groups of channels, as distribution focal loss (DFL) predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, AWeight, Groups
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import MAX_CHANNELS, require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, UNIT, Tensor, gamma
from lth_deploy.kernels.program.values import TensorType
from lth_deploy.kernels.program.weights import FLOAT_TYPES

_EXPONENTIAL = 8
"""Roundings of a kernel's exponential, and of what it makes of numbers below -87."""


@dataclass(frozen=True)
class BinMean(Instruction):
    """Of each of `groups` groups of channels the sum of softmax(channels) * bins; bins: [C / groups, 1].

    Source: arXiv:2006.04388, equation 5.
    """

    NAME = "binmean"
    NEEDS_PLANE = True
    SINCE = 6

    x: ATensor
    bins: AWeight
    groups: Groups

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        channels = given[0].channels
        require(1 <= self.groups <= MAX_CHANNELS, f"{self.groups} groups, allowed are 1 to {MAX_CHANNELS}")
        require(channels % self.groups == 0, f"{self.groups} groups do not divide {channels} channels")
        bins = declared.weights[self.bins]
        bins.check_type(FLOAT_TYPES, f"w{self.bins}")
        found, needed = list(bins.dims), [channels // self.groups, 1]
        require(found == needed, f"w{self.bins} has the shape {found}, needed is {needed}")
        return TensorType(self.groups)

    def oracle(self, operands: Operands) -> Tensor:
        """Each exponential is off relatively by what its argument is; the largest argument cancels."""
        x, bins = operands.tensors[self.x], operands.weights[self.bins].reshape(-1, 1, 1)
        count, _, *plane = x.value.shape
        value, bound = (part.reshape(count, self.groups, -1, *plane) for part in (x.value, x.bound))
        with np.errstate(invalid="ignore", over="ignore"):
            away = value - value.max(axis=2, keepdims=True)
            power = np.exp(away)
            share = power / power.sum(axis=2, keepdims=True)
            mean, size = (share * bins).sum(axis=2), (share * np.abs(bins)).sum(axis=2)
            off = bound + UNIT * (np.abs(away) + bound + bound.max(axis=2, keepdims=True))
            relative = share * (np.expm1(off) + _EXPONENTIAL * UNIT * np.exp(off))
            low = relative.sum(axis=2)
            spread = (relative * np.abs(bins)).sum(axis=2) + np.abs(mean) * low
            sums = 2 * gamma(np.float64(len(bins) + 2)) * size
            largest = float(np.abs(bins).max())
            # Whatever the shares are, a mean lies between the bins.
            exact = np.where(low < 1 / 2, spread / np.maximum(1 - low, 1 / 2), 2 * largest)
            least = len(bins) * (1 + largest) * SMALLEST
        return Tensor(mean, np.minimum(exact, 2 * largest) + sums + 4 * least)

    @property
    def stock_exact(self) -> bool:
        return False
