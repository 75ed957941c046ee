"""`multiply`: the product of two tensors, of which the second may have one pixel for each channel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.shared_rules import check_same_channels
from lth_deploy.kernels.program.values import NONE, TensorType


@dataclass(frozen=True)
class Multiply(Instruction):
    """act(x * y), where y has the plane of x, or one pixel: the gate of a squeeze-and-excitation block."""

    NAME = "multiply"
    SINCE = 3

    x: ATensor
    y: ATensor
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_same_channels(given)
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x, y = operands.tensors[self.x], operands.tensors[self.y]
        if y.value.shape[2:] != (1, 1):
            same_shape(x.value, y.value)
        value = x.value * y.value
        # (x + a) (y + b) is x y + a y + b x + a b.
        spread = x.bound * np.abs(y.value) + y.bound * np.abs(x.value) + x.bound * y.bound
        return activated(rounded(value, spread), self.act)

    @property
    def stock_exact(self) -> bool:
        return False
