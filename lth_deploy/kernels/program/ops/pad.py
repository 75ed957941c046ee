"""`pad`: zeros around each plane."""

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
        fits = all(0 <= pad <= MAX_PAD for pad in self.pads)
        require(fits, f"pads {self.pads}, allowed are 0 to {MAX_PAD}")
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        top, left, bottom, right = self.pads
        value, bound = (np.pad(part, ((0, 0), (0, 0), (top, bottom), (left, right))) for part in (x.value, x.bound))
        return replace(x, value=value, bound=bound)
