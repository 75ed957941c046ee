"""`globalaveragepool`: the mean of each channel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.fields import ATensor
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Tensor, gamma
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class GlobalAveragePool(Instruction):
    """Mean of each channel's plane, as a plane of one pixel."""

    NAME = "globalaveragepool"
    NEEDS_PLANE = True
    SINCE = 3

    x: ATensor

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        """Sums in any order, and one division."""
        x = operands.tensors[self.x]
        pixels = np.float64(x.value.shape[2] * x.value.shape[3])
        value, size, spread = (
            part.mean(axis=(2, 3), keepdims=True) for part in (x.value, np.abs(x.value) + x.bound, x.bound)
        )
        return Tensor(value, spread + gamma(pixels + 1) * size + SMALLEST)

    @property
    def stock_exact(self) -> bool:
        return False
