"""`add`, `qadd` and `qresidual`: sums of two tensors of one shape."""

from dataclasses import dataclass

from lth_deploy.kernels.program.instruction import Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.numerics.int8 import rescaled, residual
from lth_deploy.kernels.program.two_tensors import OfTwoQuantized, OfTwoTensors


@dataclass(frozen=True)
class Add(OfTwoTensors):
    """act(a + b)."""

    NAME = "add"

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        same_shape(a.value, b.value)
        value, spread = a.value + b.value, a.bound + b.bound
        return activated(rounded(value, spread), self.act)


@dataclass(frozen=True)
class QAdd(OfTwoQuantized):
    """act(a + b) of quantized tensors, rounded once."""

    NAME = "qadd"

    def oracle(self, operands: Operands) -> Tensor:
        return rescaled([operands.tensors[self.a], operands.tensors[self.b]], self.act, self.out)


@dataclass(frozen=True)
class QResidual(OfTwoQuantized):
    """a + act(b) of quantized tensors, rounded once: the end of a block with a shortcut."""

    NAME = "qresidual"
    SINCE = 4

    def oracle(self, operands: Operands) -> Tensor:
        return residual(operands.tensors[self.a], operands.tensors[self.b], self.act, self.out)
