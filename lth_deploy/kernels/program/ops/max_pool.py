"""`maxpool` and `zeromaxpool`: the maximum over windows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, AWindow
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.numerics.windows import largest
from lth_deploy.kernels.program.shared_rules import check_window
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class MaxPool(Instruction):
    """Maximum over windows; padding never wins."""

    NAME = "maxpool"
    TAKES = "any"
    NEEDS_PLANE = True

    x: ATensor
    window: AWindow

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_window(self.window)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        lowest = -np.inf if x.quantized is None else 0
        return replace(x, value=largest(x.value, self.window, lowest), bound=largest(x.bound, self.window, 0))


@dataclass(frozen=True)
class ZeroMaxPool(Instruction):
    """Maximum over windows; padding counts as zeros."""

    NAME = "zeromaxpool"
    TAKES = "any"
    NEEDS_PLANE = True
    SINCE = 5

    x: ATensor
    window: AWindow

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_window(self.window)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        zero = 0 if x.quantized is None else x.quantized.zero
        return replace(x, value=largest(x.value, self.window, zero), bound=largest(x.bound, self.window, 0))
