"""`globalaveragepool` and `qglobalaveragepool`: the mean of each channel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Float, Tensor, activated, gamma
from lth_deploy.kernels.program.numerics.int8 import dequantized, rounded_once
from lth_deploy.kernels.program.shared_rules import checked_out
from lth_deploy.kernels.program.values import NONE, TensorType


@dataclass(frozen=True)
class GlobalAveragePool(Instruction):
    """Mean of each channel's plane, as a plane of one pixel."""

    NAME = "globalaveragepool"
    NEEDS_PLANE = True
    SINCE = 3

    x: ATensor

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        """Sums in any order, and one division."""
        return Tensor(*_mean(operands.tensors[self.x]))

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class QGlobalAveragePool(Instruction):
    """Mean of act(x) over each channel's plane, rounded once: what gates of squeeze and excitation follow from."""

    NAME = "qglobalaveragepool"
    TAKES = "quantized"
    NEEDS_PLANE = True
    SINCE = 5

    x: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_act(self.act)
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        value, bound = _mean(activated(dequantized(operands.tensors[self.x]), self.act))
        return rounded_once(value, bound, NONE, self.out)

    @property
    def stock_exact(self) -> bool:
        return False


def _mean(x: Tensor) -> tuple[Float, Float]:
    """The mean of each channel, and how far sums in any order and a division may be from it."""
    pixels = np.float64(x.value.shape[2] * x.value.shape[3])
    value, size, spread = (
        part.mean(axis=(2, 3), keepdims=True) for part in (x.value, np.abs(x.value) + x.bound, x.bound)
    )
    return value, spread + gamma(pixels + 1) * size + SMALLEST
