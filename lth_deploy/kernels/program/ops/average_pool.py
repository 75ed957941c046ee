"""`averagepool`: the mean over windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, AWindow, FlagRole
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Tensor, gamma
from lth_deploy.kernels.program.numerics.windows import taps_of
from lth_deploy.kernels.program.shared_rules import check_window
from lth_deploy.kernels.program.values import TensorType

IncludePads = Annotated[bool, FlagRole("include_pads")]


@dataclass(frozen=True)
class AveragePool(Instruction):
    """Mean over windows: of all taps with padding as 0 with `include_pads`, else of the taps inside the image."""

    NAME = "averagepool"
    NEEDS_PLANE = True
    SINCE = 2

    x: ATensor
    window: AWindow
    include_pads: IncludePads

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_window(self.window)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        """Sums in any order, and one division."""
        x = operands.tensors[self.x]
        total, size, spread = (
            np.sum(taps_of(values, self.window, 0), axis=0) for values in (x.value, np.abs(x.value) + x.bound, x.bound)
        )
        taps = self.window.kernel[0] * self.window.kernel[1]
        inside = np.sum(taps_of(np.ones((1, 1, *x.value.shape[2:])), self.window, 0), axis=0)
        count = np.float64(taps) if self.include_pads else np.maximum(inside, 1)
        return Tensor(total / count, (spread + gamma(np.float64(taps + 1)) * size) / count + SMALLEST)

    @property
    def stock_exact(self) -> bool:
        return False
