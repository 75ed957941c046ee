"""`pad` and `qpad`: zeros around each plane."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, PadsRole
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import MAX_PAD, require
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.values import Pads, TensorType


@dataclass(frozen=True)
class Pad(Instruction):
    """Rows and columns of zeros: at the top, left, bottom and right."""

    NAME = "pad"
    NEEDS_PLANE = True
    SINCE = 3

    x: ATensor
    pads: Annotated[Pads, PadsRole()]

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return _checked(given[0], self.pads)

    def oracle(self, operands: Operands) -> Tensor:
        return _padded(operands.tensors[self.x], self.pads, 0)


@dataclass(frozen=True)
class QPad(Instruction):
    """As `Pad`, of a quantized tensor: around it lies its zero point."""

    NAME = "qpad"
    TAKES = "quantized"
    NEEDS_PLANE = True
    SINCE = 5

    x: ATensor
    pads: Annotated[Pads, PadsRole()]

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return _checked(given[0], self.pads)

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        assert x.quantized is not None
        return _padded(x, self.pads, x.quantized.zero)


def _checked(given: TensorType, pads: Pads) -> TensorType:
    require(all(0 <= pad <= MAX_PAD for pad in pads), f"pads {pads}, allowed are 0 to {MAX_PAD}")
    return given


def _padded(x: Tensor, pads: Pads, fill: int) -> Tensor:
    top, left, bottom, right = pads
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    return replace(x, value=np.pad(x.value, around, constant_values=fill), bound=np.pad(x.bound, around))
