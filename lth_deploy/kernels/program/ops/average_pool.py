"""`averagepool` and `qaveragepool`: the mean over windows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, AWindow, FlagRole, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Float, Tensor, gamma
from lth_deploy.kernels.program.numerics.int8 import dequantized, rounded_once
from lth_deploy.kernels.program.numerics.windows import taps_of
from lth_deploy.kernels.program.shared_rules import check_window, checked_out
from lth_deploy.kernels.program.values import NONE, TensorType, Window

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
        return Tensor(*_means(operands.tensors[self.x], self.window, self.include_pads))

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class QAveragePool(Instruction):
    """As `AveragePool`, of a quantized tensor, rounded once; padding is the real value 0."""

    NAME = "qaveragepool"
    TAKES = "quantized"
    NEEDS_PLANE = True
    SINCE = 5

    x: ATensor
    window: AWindow
    include_pads: IncludePads
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_window(self.window)
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        value, bound = _means(dequantized(operands.tensors[self.x]), self.window, self.include_pads)
        return rounded_once(value, bound, NONE, self.out)

    @property
    def stock_exact(self) -> bool:
        return False


def _means(x: Tensor, window: Window, include_pads: bool) -> tuple[Float, Float]:
    """The means, and how far sums in any order and a division may be from them."""
    total, size, spread = (
        np.sum(taps_of(values, window, 0), axis=0) for values in (x.value, np.abs(x.value) + x.bound, x.bound)
    )
    taps = window.kernel[0] * window.kernel[1]
    inside = np.sum(taps_of(np.ones((1, 1, *x.value.shape[2:])), window, 0), axis=0)
    count = np.float64(taps) if include_pads else np.maximum(inside, 1)
    return total / count, (spread + gamma(np.float64(taps + 1)) * size) / count + SMALLEST
