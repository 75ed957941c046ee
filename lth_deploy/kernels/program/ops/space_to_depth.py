"""`spacetodepth`: the pixels of each square block become channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, NumberRole, WordRole
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import Float, Tensor
from lth_deploy.kernels.program.values import TensorType

MAX_BLOCK = 8

BlockSize = Annotated[int, NumberRole("block")]
Order = Annotated[str, WordRole("order")]


@dataclass(frozen=True)
class SpaceToDepth(Instruction):
    """Pixel (y, x) of each block x block pixels becomes a pixel of channels.

    It is one of the y * block + x-th of block^2 parts with as many channels as x has; with the order `columns`, of the
    x * block + y-th, as in the stem of YOLOX.
    """

    NAME = "spacetodepth"
    NEEDS_PLANE = True
    SINCE = 3

    x: ATensor
    block: BlockSize
    order: Order

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(2 <= self.block <= MAX_BLOCK, f"blocks of {self.block}, allowed are 2 to {MAX_BLOCK}")
        require(self.order in ("rows", "columns"), f"order is rows or columns, found '{self.order!s:.40}'")
        return replace(given[0], channels=given[0].channels * self.block**2)

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        if x.value.shape[2] % self.block or x.value.shape[3] % self.block:
            raise ValueError(f"planes of {list(x.value.shape[2:])} are no whole number of blocks of {self.block}")
        return replace(x, value=self._moved(x.value), bound=self._moved(x.bound))

    def _moved(self, x: Float) -> Float:
        places = [(row, column) for row in range(self.block) for column in range(self.block)]
        if self.order == "columns":
            places = [(row, column) for column, row in places]
        return np.concatenate([x[:, :, row :: self.block, column :: self.block] for row, column in places], axis=1)
