"""`concat` and `qconcat`: tensors of one plane, joined along the channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.fields import Tensors
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import QUAD, require
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.values import TensorType


@dataclass(frozen=True)
class Concat(Instruction):
    """Tensors of one plane, one behind the other along the channels."""

    NAME = "concat"
    TAKES = "any"

    parts: Tensors

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        joined = _joined(given)
        quads = given[0].quantized is None or all(tensor.channels % QUAD == 0 for tensor in given[:-1])
        require(quads, "all parts but the last of a quantized concat have a multiple of 4 channels; qconcat takes any")
        return joined

    def oracle(self, operands: Operands) -> Tensor:
        return _concatenated([operands.tensors[part] for part in self.parts])


@dataclass(frozen=True)
class QConcat(Instruction):
    """As `Concat`, of quantized tensors with any numbers of channels."""

    NAME = "qconcat"
    TAKES = "quantized"
    SINCE = 3

    parts: Tensors

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        return _joined(given)

    def oracle(self, operands: Operands) -> Tensor:
        return _concatenated([operands.tensors[part] for part in self.parts])


def _joined(given: Sequence[TensorType]) -> TensorType:
    require(len(given) >= 2, "concat needs two tensors or more")
    same = all(tensor.quantized == given[0].quantized for tensor in given)
    require(same, "the parts of a concat have one type, one scale and one zero point")
    return replace(given[0], channels=sum(tensor.channels for tensor in given))


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    value, bound = (np.concatenate([getattr(p, name) for p in parts], 1) for name in ("value", "bound"))
    return replace(parts[0], value=value, bound=bound)
