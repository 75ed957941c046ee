"""`scale` and `batchnorm`: a factor and a shift of each channel, given or by mean and variance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, AWeight, ConstantRole, RealRole
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, UNIT, Tensor, activated, column
from lth_deploy.kernels.program.shared_rules import check_channel_values
from lth_deploy.kernels.program.values import NONE, TensorType

ChannelValues = Annotated[int | None, ConstantRole(optional=True)]
Epsilon = Annotated[float, RealRole("epsilon")]


@dataclass(frozen=True)
class Scale(Instruction):
    """act(x * factor + shift), each constant [C], [C, 1, 1] or [1, C, 1, 1], or None."""

    NAME = "scale"
    SINCE = 3

    x: ATensor
    factor: ChannelValues
    shift: ChannelValues
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(bool(self.constants), "a scale has a factor, a shift or both")
        check_channel_values(self.constants, given[0].channels, declared)
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        factor, shift = (
            np.full(1, default) if constant is None else operands.weights[constant].reshape(-1)
            for constant, default in ((self.factor, 1.0), (self.shift, 0.0))
        )
        product, offset = x.value * column(factor), column(shift)
        spread = x.bound * np.abs(column(factor))
        size = np.abs(product) + np.abs(offset) + spread
        return activated(Tensor(product + offset, spread + 2 * UNIT * size + SMALLEST), self.act)

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class BatchNorm(Instruction):
    """act((x - mean) / sqrt(variance + epsilon) * factor + shift), each constant with a value for every channel."""

    NAME = "batchnorm"
    SINCE = 3

    x: ATensor
    factor: AWeight
    shift: AWeight
    mean: AWeight
    variance: AWeight
    epsilon: Epsilon
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        check_channel_values(self.constants, given[0].channels, declared)
        require(bool(np.isfinite(np.float32(self.epsilon))) and self.epsilon >= 0, "epsilon is finite, not below zero")
        check_act(self.act)
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        scale, shift, mean, variance = (operands.weights[constant].reshape(-1) for constant in self.constants)
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = scale / np.sqrt(variance + float(np.float32(self.epsilon)))
        product, offset = x.value * column(factor), column(shift - factor * mean)
        spread = x.bound * np.abs(column(factor))
        size = np.abs(product) + column(np.abs(shift) + np.abs(factor * mean)) + spread
        return activated(Tensor(product + offset, spread + 4 * UNIT * size + SMALLEST), self.act)

    @property
    def stock_exact(self) -> bool:
        return False
