"""`subtract`: the difference of two tensors of one shape."""

from dataclasses import dataclass

from lth_deploy.kernels.program.instruction import Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, rounded, same_shape
from lth_deploy.kernels.program.two_tensors import OfTwoTensors


@dataclass(frozen=True)
class Subtract(OfTwoTensors):
    """act(a - b)."""

    NAME = "subtract"
    SINCE = 3

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        same_shape(a.value, b.value)
        value, spread = a.value - b.value, a.bound + b.bound
        return activated(rounded(value, spread), self.act)
