"""`add`, `qadd` and `qresidual`: sums of two tensors of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.numerics.int8 import rescaled, residual
from lth_deploy.kernels.program.shared_rules import check_same_channels, checked_out
from lth_deploy.kernels.program.two_tensors import OfTwoTensors
from lth_deploy.kernels.program.values import TensorType


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
class QAdd(Instruction):
    """act(a + b) of quantized tensors, rounded once."""

    NAME = "qadd"
    TAKES = "quantized"

    a: ATensor
    b: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_same_channels(given)
        check_act(self.act)
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        return rescaled([operands.tensors[self.a], operands.tensors[self.b]], self.act, self.out)

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class QResidual(Instruction):
    """x + act(y) of quantized tensors, rounded once: the end of a block with a shortcut."""

    NAME = "qresidual"
    TAKES = "quantized"
    SINCE = 4

    x: ATensor
    y: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_same_channels(given)
        check_act(self.act)
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        return residual(operands.tensors[self.x], operands.tensors[self.y], self.act, self.out)

    @property
    def stock_exact(self) -> bool:
        return False
