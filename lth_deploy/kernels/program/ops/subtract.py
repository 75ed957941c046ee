"""`subtract`: the difference of two tensors of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.shared_rules import check_same_channels
from lth_deploy.kernels.program.values import NONE, TensorType


@dataclass(frozen=True)
class Subtract(Instruction):
    """act(a - b)."""

    NAME = "subtract"
    SINCE = 3

    a: ATensor
    b: ATensor
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_same_channels(given)
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        same_shape(a.value, b.value)
        value, spread = a.value - b.value, a.bound + b.bound
        return activated(rounded(value, spread), self.act)

    @property
    def stock_exact(self) -> bool:
        return False
