"""`layernorm`: normalization over the channels of each pixel or row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, ConstantRole, RealRole
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, UNIT, Tensor, activated, column, gamma
from lth_deploy.kernels.program.shared_rules import check_channel_values
from lth_deploy.kernels.program.values import NONE, TensorType

ChannelValues = Annotated[int | None, ConstantRole(optional=True)]
Epsilon = Annotated[float, RealRole("epsilon")]


@dataclass(frozen=True)
class LayerNorm(Instruction):
    """act((x - mean) / sqrt(variance + epsilon) * factor + shift), mean and variance over the channels.

    factor, shift: [C], [C, 1, 1] or [1, C, 1, 1], or None.
    """

    NAME = "layernorm"
    SINCE = 4

    x: ATensor
    factor: ChannelValues
    shift: ChannelValues
    epsilon: Epsilon
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_channel_values(self.constants, given[0].channels, declared)
        require(bool(0 < np.float32(self.epsilon) < np.inf), "epsilon is finite and above zero")
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        """Mean first, then the mean square of what is left, each summed in any order."""
        x, epsilon = operands.tensors[self.x], float(np.float32(self.epsilon))
        factor, shift = (
            column(np.full(1, default) if constant is None else operands.weights[constant].reshape(-1))
            for constant, default in ((self.factor, 1.0), (self.shift, 0.0))
        )
        relative = gamma(np.float64(x.value.shape[1] + 3))
        size = np.abs(x.value) + x.bound
        away = x.value - x.value.mean(axis=1, keepdims=True)
        mean_off = x.bound.mean(axis=1, keepdims=True) + relative * size.mean(axis=1, keepdims=True)
        off = x.bound + mean_off + UNIT * (np.abs(away) + x.bound + mean_off)
        variance = (away**2).mean(axis=1, keepdims=True)
        square_off = (2 * np.abs(away) * off + off**2).mean(axis=1, keepdims=True)
        square_off += relative * ((np.abs(away) + off) ** 2).mean(axis=1, keepdims=True)
        inverse = 1 / np.sqrt(variance + epsilon)
        # The variance is no less than 0, whatever its error is.
        largest = 1 / np.sqrt((np.maximum(variance - square_off, 0) + epsilon) * (1 - 4 * UNIT))
        product = away * inverse * factor
        spread = ((np.abs(away) + off) * largest - np.abs(away) * inverse) * np.abs(factor)
        sums = np.abs(product) + spread + np.abs(shift)
        return activated(Tensor(product + shift, spread + 8 * UNIT * sums + SMALLEST), self.act)

    @property
    def stock_exact(self) -> bool:
        return False
