"""`multiply`, `qmultiply` and `qgate`: products of two tensors, of which the second may have one pixel a channel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.activations import check_act
from lth_deploy.kernels.program.fields import Activated, ATensor, QuantizedOut
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import Tensor, activated, product, rounded, same_shape
from lth_deploy.kernels.program.numerics.int8 import dequantized, rounded_once
from lth_deploy.kernels.program.shared_rules import check_same_channels, checked_out
from lth_deploy.kernels.program.two_tensors import OfTwoQuantized, OfTwoTensors
from lth_deploy.kernels.program.values import NONE, TensorType


@dataclass(frozen=True)
class Multiply(OfTwoTensors):
    """act(a * b), where b has the plane of a, or one pixel: the gate of a squeeze-and-excitation block."""

    NAME = "multiply"
    SINCE = 3

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        if b.value.shape[2:] != (1, 1):
            same_shape(a.value, b.value)
        value, spread = product(a, b)
        return activated(rounded(value, spread), self.act)


@dataclass(frozen=True)
class QMultiply(OfTwoQuantized):
    """a * act(b) of quantized tensors of one shape, rounded once."""

    NAME = "qmultiply"
    SINCE = 5

    def oracle(self, operands: Operands) -> Tensor:
        a, b = operands.tensors[self.a], operands.tensors[self.b]
        same_shape(a.value, b.value)
        value, spread = product(dequantized(a), activated(dequantized(b), self.act))
        return rounded_once(value, spread, NONE, self.out)


@dataclass(frozen=True)
class QGate(Instruction):
    """act(x) * y, rounded once: a quantized tensor, and a factor in float32 for each channel of each image."""

    NAME = "qgate"
    TAKES = "any"
    NEEDS_PLANE = True
    SINCE = 5

    x: ATensor
    y: ATensor
    act: Activated
    out: QuantizedOut

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        x, y = given
        require(x.quantized is not None, "its first argument is quantized, found float32")
        require(y.quantized is None, "its second argument is float32, found quantized")
        check_same_channels(given)
        check_act(self.act)
        return replace(x, quantized=checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        """Raises ValueError where the factors have more than one pixel, or are of other images."""
        x, y = operands.tensors[self.x], operands.tensors[self.y]
        if y.value.shape != (*x.value.shape[:2], 1, 1):
            raise ValueError(f"factors of the shape {list(y.value.shape)} for a tensor of {list(x.value.shape)}")
        value, spread = product(activated(dequantized(x), self.act), y)
        return rounded_once(np.asarray(value), spread, NONE, self.out)

    @property
    def stock_exact(self) -> bool:
        return False
