"""`quantize` and `dequantize`: from float32 to quantized tensors, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lth_deploy.kernels.program.fields import ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.numerics.int8 import dequantized, quantized
from lth_deploy.kernels.program.shared_rules import checked_out
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Quantize(Instruction):
    """clamp(round_half_even(x / scale) + zero, 0, 255)."""

    NAME = "quantize"

    x: ATensor
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return replace(given[0], quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        return quantized(operands.tensors[self.x], self.out)


@dataclass(frozen=True)
class Dequantize(Instruction):
    """(x - zero) * scale as float32."""

    NAME = "dequantize"
    TAKES = "quantized"

    x: ATensor

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return replace(given[0], quantized=None)

    def oracle(self, operands: Operands) -> Tensor:
        return dequantized(operands.tensors[self.x])
