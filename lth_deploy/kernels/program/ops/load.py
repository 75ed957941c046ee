"""`load` and `loadrows`: an activation of the node becomes a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.fields import Channels, NodeInput, Rows
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Load(Instruction):
    """Node input `source`, [N, channels, H, W]; with `rows`, [N, channels] as a plane of 1x1."""

    NAME = "load"

    source: NodeInput
    channels: Channels
    rows: Rows = False

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(0 <= self.source < declared.inputs, f"node input {self.source} is no activation")
        return TensorType(self.channels, self.rows)

    def oracle(self, operands: Operands) -> Tensor:
        value = np.asarray(operands.inputs[self.source], np.float64)
        if value.ndim != (2 if self.rows else 4) or value.shape[1] != self.channels:
            found, needed = list(value.shape), self.channels
            raise ValueError(f"input {self.source} has the shape {found}, {needed} channels are needed")
        value = value.reshape(value.shape[0], self.channels, *(value.shape[2:] or (1, 1)))
        return Tensor(value, np.zeros_like(value))
