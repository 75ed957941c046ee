"""Structures: which weights share one mask bit, or compete for the places in one group.

A block is R consecutive output channels by C consecutive input channels at one tap of the kernel, which is
what the sparse kernels load as one unit. Structure at the edge of a layer are smaller, never padded with weights.
Of a group, M consecutive input channels of one output at one tap, N weights are left.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
BlockScore = Literal["l2", "l1", "max"]


@dataclass(frozen=True)
class Structure:
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


@dataclass(frozen=True)
class Filters:
    """All weights of an output channel share one mask bit; layers whose outputs are added lose the same channels."""


AnyStructure = Structure | Groups | Filters

STRUCTURES: dict[str, AnyStructure] = {
    "single": Structure(1, 1),
    "in4": Structure(1, 4),
    "2x4": Structure(2, 4),
    "out2": Structure(2, 1),
    "1:4": Groups(1, 4),
    "2:4": Groups(2, 4),
    "4:8": Groups(4, 8),
    "filter": Filters(),
}


def block_scores(
    scores: FloatArray, structure: Structure, transposed: bool, block_score: BlockScore = "l2"
) -> tuple[FloatArray, FloatArray]:
    """Score and number of weights of every block of one layer.

    Args:
        scores: of single weights, [O, I, ...taps], or [I, O, ...taps] where `transposed` (ConvTranspose).
        structure: the block size.
        transposed: whether input channels come first.
        block_score: root mean square (l2), mean (l1) or largest (max) of the scores in a block. Means, not sums, so
            that the smaller blocks at a layer's edge compare with whole ones.

    Returns:
        Scores of the blocks, and the weights each holds; both [ceil(O/R), ceil(I/C), taps].
    """
    rows, columns = _block_axes(structure, transposed)
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
    blocks: npt.NDArray[np.bool_], shape: tuple[int, ...], structure: Structure, transposed: bool
) -> npt.NDArray[np.bool_]:
    """One value a block back to one value a weight; `shape` is the layer's."""
    rows, columns = _block_axes(structure, transposed)
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


def _block_axes(structure: Structure, transposed: bool) -> tuple[int, int]:
    return (structure.inputs, structure.outputs) if transposed else (structure.outputs, structure.inputs)


def _reduce_blocks(values: FloatArray, rows: int, columns: int, reduce: np.ufunc) -> FloatArray:
    outer, inner = values.shape[:2]
    if outer % rows == 0 and inner % columns == 0:
        # The common case; one strided reduction is several times faster than two scattered ones.
        shape = (outer // rows, rows, inner // columns, columns, *values.shape[2:])
        reduced: FloatArray = reduce.reduce(values.reshape(shape), axis=(1, 3), dtype=np.float32)
        return reduced
    by_rows = reduce.reduceat(values, np.arange(0, values.shape[0], rows), axis=0)
    return reduce.reduceat(by_rows, np.arange(0, values.shape[1], columns), axis=1)
