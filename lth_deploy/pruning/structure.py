"""Structures: which weights share one mask bit, or compete for the places in one group.

A block is R consecutive output channels by C consecutive input channels at one tap of the kernel, which is
what the sparse kernels load as one unit. Blocks at the edge of a layer are smaller, never padded with weights.
Of a group, M consecutive input channels of one output at one tap, N weights are left.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Blocks:
    """Block size: `outputs` x `inputs` channels."""

    outputs: int
    inputs: int


@dataclass(frozen=True)
class Groups:
    """N:M sparsity along the inputs (Mishra et al. 2021): `keep` of every `of` input channels are left.

    A smaller group at the edge keeps as many: hardware pads it with zeros.
    """

    keep: int
    of: int


Structure = Blocks | Groups

STRUCTURES: dict[str, Structure] = {
    "single": Blocks(1, 1),
    "in4": Blocks(1, 4),
    "2x4": Blocks(2, 4),
    "out2": Blocks(2, 1),
    "1:4": Groups(1, 4),
    "2:4": Groups(2, 4),
    "4:8": Groups(4, 8),
}


def block_scores(
    scores: FloatArray, blocks: Blocks, transposed: bool, additive: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Score and number of weights of every block of one layer.

    Args:
        scores: [O, I, ...taps], or [I, O, ...taps] where `transposed` (ConvTranspose).
        blocks: the block size.
        transposed: whether input channels come first.
        additive: whether scores add up; otherwise their squares do.

    Returns:
        Mean of the scores in each block, or root mean square, and the weights it holds; both [ceil(O/R), ceil(I/C),
        taps].
    """
    rows, columns = _block_axes(blocks, transposed)
    if rows == columns == 1:
        return scores, np.ones((1,) * scores.ndim, np.float32)
    sums = _sum_blocks(scores if additive else np.square(scores, dtype=np.float32), rows, columns)
    counts = _sum_blocks(np.ones(scores.shape[:2], np.float32), rows, columns)
    counts = counts.reshape(counts.shape + (1,) * (scores.ndim - 2))
    means = sums / counts
    return means if additive else np.sqrt(means), np.broadcast_to(counts, sums.shape)


def expand_blocks(
    values: npt.NDArray[np.bool_], shape: tuple[int, ...], blocks: Blocks, transposed: bool
) -> npt.NDArray[np.bool_]:
    """One value a block back to one value a weight; `shape` is the layer's."""
    rows, columns = _block_axes(blocks, transposed)
    if rows == columns == 1:
        return values
    return values.repeat(rows, axis=0).repeat(columns, axis=1)[: shape[0], : shape[1]]


def best_of_groups(scores: FloatArray, alive: BoolArray, groups: Groups, transposed: bool) -> BoolArray:
    """The mask that keeps the `keep` highest living scores of each group; equal scores fall in order of the inputs.

    Args:
        scores: [O, I, ...taps], or [I, O, ...taps] where `transposed`; finite.
        alive: False where a weight fell before, in the same shape.
        groups: how many are kept of how many.
        transposed: whether input channels come first.
    """
    axis = 0 if transposed else 1
    ranked = np.moveaxis(np.where(alive, scores, -np.inf), axis, -1)
    missing = -ranked.shape[-1] % groups.of
    ranked = np.pad(ranked, [(0, 0)] * (ranked.ndim - 1) + [(0, missing)], constant_values=-np.inf)
    grouped = ranked.reshape(*ranked.shape[:-1], -1, groups.of)
    order = np.argsort(grouped, axis=-1, kind="stable")
    best = np.zeros(grouped.shape, np.bool_)
    np.put_along_axis(best, order[..., groups.of - groups.keep :], True, axis=-1)
    channels = scores.shape[axis]
    flat = best.reshape(ranked.shape)[..., :channels]
    return np.ascontiguousarray(np.moveaxis(flat, -1, axis)) & alive


def _block_axes(blocks: Blocks, transposed: bool) -> tuple[int, int]:
    return (blocks.inputs, blocks.outputs) if transposed else (blocks.outputs, blocks.inputs)


def _sum_blocks(values: FloatArray, rows: int, columns: int) -> FloatArray:
    outer, inner = values.shape[:2]
    if outer % rows == 0 and inner % columns == 0:
        # The common case; one strided sum is several times faster than two scattered ones.
        shape = (outer // rows, rows, inner // columns, columns, *values.shape[2:])
        summed: FloatArray = values.reshape(shape).sum(axis=(1, 3), dtype=np.float32)
        return summed
    rows_summed = np.add.reduceat(values, np.arange(0, values.shape[0], rows), axis=0)
    return np.add.reduceat(rows_summed, np.arange(0, values.shape[1], columns), axis=1)
