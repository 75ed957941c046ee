"""What the operators of two tensors have in common: sum, difference and product, element by element."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction
from lth_deploy.kernels.program.shared_rules import check_same_channels, checked_out
from lth_deploy.kernels.program.values import NONE, TensorType


@dataclass(frozen=True)
class OfTwoTensors(Instruction):
    """An operator of two tensors with as many channels, and an activation of the result."""

    a: ATensor
    b: ATensor
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        """Raises RuleError: other numbers of channels, or an activation that is no such."""
        check_same_channels(given)
        check_act(self.act)
        return given[0]

    @property
    def stock_exact(self) -> bool:
        """False: kernels fuse the activation, and stock runtimes compute it by themselves."""
        return False


@dataclass(frozen=True)
class OfTwoQuantized(Instruction):
    """An operator of two quantized tensors with as many channels, an activation, and a result that is rounded once."""

    TAKES = "quantized"

    a: ATensor
    b: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        """Raises RuleError: other numbers of channels, an activation that is no such, or no scale of the result."""
        check_same_channels(given)
        check_act(self.act)
        return replace(given[0], quantized=checked_out(self.out))

    @property
    def stock_exact(self) -> bool:
        """False: stock runtimes round the activation too."""
        return False
