"""A tensor as a list of its blocks, and back; see `structures.Block`."""

import math
from collections.abc import Sequence

from lth_deploy.arrays import Array
from lth_deploy.structures import Block


def has_whole_blocks(shape: Sequence[int], block: Block) -> bool:
    """Whether a tensor of this shape is made of whole blocks."""
    if block.size == 1:
        return True
    return len(shape) >= 2 and shape[0] % block.outputs == 0 and shape[1] % block.inputs == 0


def split_blocks(weights: Array, block: Block) -> Array:
    """[blocks, R C]: blocks in row-major order of [d0 / R, d1 / C, taps...], each in rows of inputs."""
    if block.size == 1:
        return weights.reshape(-1, 1)
    d0, d1 = weights.shape[:2]
    cut = weights.reshape(d0 // block.outputs, block.outputs, d1 // block.inputs, block.inputs, -1)
    return cut.transpose(0, 2, 4, 1, 3).reshape(-1, block.size)


def join_blocks(rows: Array, shape: Sequence[int], block: Block) -> Array:
    """The tensor again, from all its blocks."""
    if block.size == 1:
        return rows.reshape(shape)
    d0, d1, taps = shape[0], shape[1], math.prod(shape[2:])
    cut = rows.reshape(d0 // block.outputs, d1 // block.inputs, taps, block.outputs, block.inputs)
    return cut.transpose(0, 3, 1, 4, 2).reshape(shape)
