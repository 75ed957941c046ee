"""`shuffle`: channels of several groups, interleaved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.fields import ATensor, Groups
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import MAX_CHANNELS, require
from lth_deploy.kernels.program.numerics.bounds import Float, Tensor
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Shuffle(Instruction):
    """Channel k of group g, of `groups` groups one behind the other, becomes channel k * groups + g."""

    NAME = "shuffle"
    SINCE = 3

    x: ATensor
    groups: Groups

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(2 <= self.groups <= MAX_CHANNELS, f"{self.groups} groups, allowed are 2 to {MAX_CHANNELS}")
        channels = given[0].channels
        require(channels % self.groups == 0, f"{self.groups} groups do not divide {channels} channels")
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        return replace(x, value=self._shuffled(x.value), bound=self._shuffled(x.bound))

    def _shuffled(self, x: Float) -> Float:
        count, channels, *plane = x.shape
        grouped = x.reshape(count, self.groups, channels // self.groups, *plane)
        return grouped.swapaxes(1, 2).reshape(x.shape)
