"""`slice` and `qslice`: some channels of a tensor."""

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
        aligned = given[0].quantized is None or self.start % QUAD == 0
        require(aligned, "a slice of a quantized tensor begins at a multiple of 4; qslice begins anywhere")
        return _cut(self, given[0])

    def oracle(self, operands: Operands) -> Tensor:
        return _sliced(self, operands)


@dataclass(frozen=True)
class QSlice(Instruction):
    """As `Slice`, of a quantized tensor from any channel on."""

    NAME = "qslice"
    TAKES = "quantized"
    SINCE = 3

    x: ATensor
    start: First
    stop: End

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return _cut(self, given[0])

    def oracle(self, operands: Operands) -> Tensor:
        return _sliced(self, operands)


def _cut(step: Slice | QSlice, x: TensorType) -> TensorType:
    require(0 <= step.start < step.stop <= x.channels, f"t{step.x} has channels 0 to {x.channels - 1}")
    return replace(x, channels=step.stop - step.start)


def _sliced(step: Slice | QSlice, operands: Operands) -> Tensor:
    x, channels = operands.tensors[step.x], slice(step.start, step.stop)
    return replace(x, value=x.value[:, channels], bound=x.bound[:, channels])
