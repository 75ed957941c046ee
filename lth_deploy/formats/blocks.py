"""Blocks of weights that share one position: R consecutive outputs by C consecutive inputs at one kernel tap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.formats.base import Array


@dataclass(frozen=True)
class Block:
    """R x C weights along the first two dimensions of a tensor; 1 x 1 are single weights of any tensor."""

    outputs: int = 1
    inputs: int = 1

    @property
    def size(self) -> int:
        """Weights of a block."""
        return self.outputs * self.inputs

    @property
    def suffix(self) -> str:
        """What it adds to the name of a coding: `:2x4`, and nothing for single weights."""
        return "" if self.size == 1 else f":{self.outputs}x{self.inputs}"

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is made of whole blocks."""
        return self.size == 1 or (len(shape) >= 2 and shape[0] % self.outputs == 0 and shape[1] % self.inputs == 0)

    def split(self, weights: Array) -> Array:
        """[blocks, R C]: blocks in row-major order of [d0 / R, d1 / C, taps...], each in rows of inputs."""
        if self.size == 1:
            return weights.reshape(-1, 1)
        d0, d1 = weights.shape[:2]
        cut = weights.reshape(d0 // self.outputs, self.outputs, d1 // self.inputs, self.inputs, -1)
        return cut.transpose(0, 2, 4, 1, 3).reshape(-1, self.size)

    def join(self, rows: Array, shape: Sequence[int]) -> Array:
        """The tensor again, from all its blocks."""
        if self.size == 1:
            return rows.reshape(shape)
        d0, d1, taps = shape[0], shape[1], math.prod(shape[2:])
        cut = rows.reshape(d0 // self.outputs, d1 // self.inputs, taps, self.outputs, self.inputs)
        return cut.transpose(0, 3, 1, 4, 2).reshape(shape)


SINGLE = Block()
BLOCKS = (SINGLE, Block(2, 1), Block(1, 4), Block(2, 4))
"""The block shapes that codings exist for; pruning's structures out2, in4 and 2x4 make them."""
