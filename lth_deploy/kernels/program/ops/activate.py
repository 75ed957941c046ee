"""`act` and `requantize`: activations of float32 and of quantized tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.activations import activation_of, check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated
from lth_deploy.kernels.program.numerics.int8 import rescaled
from lth_deploy.kernels.program.shared_rules import checked_out
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Activate(Instruction):
    """act(x)."""

    NAME = "act"

    x: ATensor
    act: Activated

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(self.act.kind != "none", "an instruction of its own needs an activation")
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        return activated(operands.tensors[self.x], self.act)


@dataclass(frozen=True)
class Requantize(Instruction):
    """act(x) of a quantized tensor, with another scale and zero point."""

    NAME = "requantize"
    TAKES = "quantized"

    x: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_act(self.act)
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        return rescaled([operands.tensors[self.x]], self.act, self.out)

    @property
    def stock_exact(self) -> bool:
        return activation_of(self.act).clamp is not None
