"""`multiply`: the product of two tensors, of which the second may have one pixel for each channel."""

from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.instruction import Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.two_tensors import OfTwoTensors


@dataclass(frozen=True)
class Multiply(OfTwoTensors):
    """act(a * b), where b has the plane of a, or one pixel: the gate of a squeeze-and-excitation block."""

    NAME = "multiply"
    SINCE = 3

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        if b.value.shape[2:] != (1, 1):
            same_shape(a.value, b.value)
        # Let the operands be off by s and t: (a + s) (b + t) is a b + s b + t a + s t.
        spread = a.bound * np.abs(b.value) + b.bound * np.abs(a.value) + a.bound * b.bound
        return activated(rounded(a.value * b.value, spread), self.act)
