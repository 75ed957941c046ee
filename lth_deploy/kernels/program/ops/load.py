"""`load`, `loadrows` and `loadtokens`: an activation of the node becomes a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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

    @property
    def rank(self) -> int:
        """Number of dimensions of the node input."""
        return 2 if self.rows else 4

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


@dataclass(frozen=True)
class LoadTokens(Instruction):
    """Node input `source`, [N, T, channels], as the rows of a matrix: N * T planes of 1x1."""

    NAME = "loadtokens"
    SINCE = 4

    source: NodeInput
    channels: Channels

    rank: ClassVar[int] = 3
    """Number of dimensions of the node input."""

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(0 <= self.source < declared.inputs, f"node input {self.source} is no activation")
        return TensorType(self.channels, rows=True)

    def oracle(self, operands: Operands) -> Tensor:
        value = np.asarray(operands.inputs[self.source], np.float64)
        if value.ndim != 3 or value.shape[2] != self.channels:
            found = list(value.shape)
            raise ValueError(f"input {self.source} has the shape {found}, [N, T, {self.channels}] is needed")
        value = value.reshape(-1, self.channels, 1, 1)
        return Tensor(value, np.zeros_like(value))


AnyLoad = Load | LoadTokens
"""Instructions that read node inputs."""
