"""`slice`: some channels of a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.fields import ATensor, End, First
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import QUAD, require
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Slice(Instruction):
    """Channels start to stop - 1."""

    NAME = "slice"
    TAKES = "any"

    x: ATensor
    start: First
    stop: End

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        x = given[0]
        require(0 <= self.start < self.stop <= x.channels, f"t{self.x} has channels 0 to {x.channels - 1}")
        aligned = x.quantized is None or self.start % QUAD == 0
        require(aligned, "slices of a quantized tensor begin at a multiple of 4")
        return replace(x, channels=self.stop - self.start)

    def oracle(self, operands: Operands) -> Tensor:
        x, channels = operands.tensors[self.x], slice(self.start, self.stop)
        return replace(x, value=x.value[:, channels], bound=x.bound[:, channels])
