"""`convtranspose` and `qconvtranspose`: transposed convolutions whose stride is their kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, AWeight, Bias, Kernel, Out, Scales
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Float, Tensor, activated, column, gamma
from lth_deploy.kernels.program.numerics.int8 import accumulated, requantized_accumulators
from lth_deploy.kernels.program.shared_rules import check_bias, check_scales_of, check_window, checked_out
from lth_deploy.kernels.program.values import NONE, TensorType, Window
from lth_deploy.kernels.program.weights import FLOAT_TYPES


@dataclass(frozen=True)
class ConvTranspose(Instruction):
    """act(transposed convolution(x) + bias) whose stride is its kernel; the weight is [IC, OC, kh, kw]."""

    NAME = "convtranspose"
    NEEDS_PLANE = True

    x: ATensor
    weight: AWeight
    bias: Bias
    kernel: Kernel
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        declared.weights[self.weight].check_type(FLOAT_TYPES, f"w{self.weight}")
        outputs = _outputs(self, given[0], declared)
        check_bias(self.bias, outputs, declared, FLOAT_TYPES)
        return TensorType(outputs)

    def oracle(self, operands: Operands) -> Tensor:
        x, weight = operands.tensors[self.x], operands.weights[self.weight]
        value = _interleaved(x.value, weight)
        size = _interleaved(np.abs(x.value) + x.bound, np.abs(weight))
        spread = _interleaved(x.bound, np.abs(weight))
        if self.bias is not None:
            bias = column(operands.weights[self.bias])
            value, size = value + bias, size + np.abs(bias)
        relative = gamma(np.float64(weight.shape[0] + 2))
        return activated(Tensor(value, spread + relative * size + SMALLEST), self.act)

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class QConvTranspose(Instruction):
    """act(transposed convolution(x) + bias) of quantized tensors; constants and `out` as of `qconv`."""

    NAME = "qconvtranspose"
    TAKES = "quantized"
    NEEDS_PLANE = True

    x: ATensor
    weight: AWeight
    scales: Scales
    bias: Bias
    kernel: Kernel
    act: Activated = NONE
    out: Out = None

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        declared.weights[self.weight].check_type(("s8",), f"w{self.weight}")
        outputs = _outputs(self, given[0], declared)
        check_scales_of(self.scales, outputs, declared)
        check_bias(self.bias, outputs, declared, ("s32",))
        return TensorType(outputs, False, None if self.out is None else checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        """What a `qconv` of every tap of the kernel makes, interleaved."""
        x, weight = operands.tensors[self.x], operands.weights[self.weight]
        assert x.quantized is not None
        bias = None if self.bias is None else column(operands.weights[self.bias])
        float_terms = len(weight) if operands.accumulate == "floats" else 0
        accumulators = accumulated(_interleaved, x, weight, bias, float_terms)
        return requantized_accumulators(accumulators, x.quantized, operands.weights[self.scales], self.act, self.out)

    @property
    def stock_exact(self) -> bool:
        return False

    @property
    def stock_sums_floats(self) -> bool:
        return True


def _interleaved(x: Float, weight: Float) -> Float:
    """Transposed convolution whose stride is its kernel."""
    count, _, height, width = x.shape
    _, outputs, rows, columns = weight.shape
    blocks = np.einsum("nchw,coij->nohiwj", x, weight, optimize=True)
    return np.asarray(blocks.reshape(count, outputs, height * rows, width * columns))


def _outputs(step: ConvTranspose | QConvTranspose, x: TensorType, declared: Declarations) -> int:
    """The channels that a transposed convolution of either type makes.

    Raises:
        RuleError: it breaks a rule of both.
    """
    dims = declared.weights[step.weight].dims
    require(len(dims) == 4 and dims[2:] == step.kernel, f"the kernel is not that of w{step.weight}")
    check_window(Window(step.kernel, step.kernel))
    require(dims[0] == x.channels, f"w{step.weight} takes {dims[0]} channels, t{step.x} has {x.channels}")
    check_act(step.act)
    return dims[1]
