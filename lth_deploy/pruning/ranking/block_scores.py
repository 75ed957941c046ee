"""Scores of blocks from the scores of their weights, masks from those of blocks, and the best of N:M groups.

A block is what the sparse kernels load together. Blocks at the edges of a layer are smaller, never
padded with weights; see `structures`.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.structures import Block, Groups

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
BlockScore = Literal["l2", "l1", "max"]


def block_scores(
    scores: FloatArray, block: Block, transposed: bool, block_score: BlockScore = "l2"
) -> tuple[FloatArray, FloatArray]:
    """Score and number of weights of every block of one layer.

    Args:
        scores: of single weights, [O, I, ...taps], or [I, O, ...taps] where `transposed` (ConvTranspose).
        block: the block size.
        transposed: whether input channels come first.
        block_score: root mean square (l2), mean (l1) or largest (max) of the scores in a block. Means, not sums, so
            that the smaller blocks at a layer's edge compare with whole ones.

    Returns:
        Scores of the blocks, and the weights each holds; both [ceil(O/R), ceil(I/C), taps].
    """
    rows, columns = _block_axes(block, transposed)
    if rows == columns == 1:
        return scores, np.ones((1,) * scores.ndim, np.float32)
    counts = _reduce_blocks(np.ones(scores.shape[:2], np.float32), rows, columns, np.add)
    counts = counts.reshape(counts.shape + (1,) * (scores.ndim - 2))
    if block_score == "max":
        reduced = _reduce_blocks(scores, rows, columns, np.maximum)
    elif block_score == "l1":
        reduced = _reduce_blocks(scores, rows, columns, np.add) / counts
    else:
        reduced = np.sqrt(_reduce_blocks(np.square(scores, dtype=np.float32), rows, columns, np.add) / counts)
    return reduced, np.broadcast_to(counts, reduced.shape)


def expand_blocks(
    blocks: npt.NDArray[np.bool_], shape: tuple[int, ...], block: Block, transposed: bool
) -> npt.NDArray[np.bool_]:
    """One value a block back to one value a weight; `shape` is the layer's."""
    rows, columns = _block_axes(block, transposed)
    if rows == columns == 1:
        return blocks
    return blocks.repeat(rows, axis=0).repeat(columns, axis=1)[: shape[0], : shape[1]]


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


def _block_axes(block: Block, transposed: bool) -> tuple[int, int]:
    return (block.inputs, block.outputs) if transposed else (block.outputs, block.inputs)


def _reduce_blocks(values: FloatArray, rows: int, columns: int, reduce: np.ufunc) -> FloatArray:
    outer, inner = values.shape[:2]
    if outer % rows == 0 and inner % columns == 0:
        # The common case; one strided reduction is several times faster than two scattered ones.
        shape = (outer // rows, rows, inner // columns, columns, *values.shape[2:])
        reduced: FloatArray = reduce.reduce(values.reshape(shape), axis=(1, 3), dtype=np.float32)
        return reduced
    by_rows = reduce.reduceat(values, np.arange(0, values.shape[0], rows), axis=0)
    return reduce.reduceat(by_rows, np.arange(0, values.shape[1], columns), axis=1)
