"""The masks of controls."""

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lth_deploy.mask import Masks
from lth_deploy.pruning.ranking.block_scores import best_of_groups, block_scores, expand_blocks
from lth_deploy.structures import Block, Filters, Groups, Structure


def permuted(
    masks: Mapping[str, npt.NDArray[np.bool_]],
    structure: Structure,
    transposed: frozenset[str],
    seed: int,
    coupled: Mapping[str, tuple[str, ...]] | None = None,
) -> Masks:
    """Each layer's mask with its blocks in random order: the ticket's sparsity per layer, none of its positions.

    Blocks at a layer's edge are smaller; they are permuted among blocks of their own size, so that the number of
    zeros stays exact. Groups of N:M keep N random places each. Layers that lose the same filters still do;
    `coupled` names them.
    """
    result = {}
    for name, mask in masks.items():
        drawn_by = (coupled or {}).get(name, (name,))[0]
        rng = np.random.default_rng([seed, zlib.crc32(drawn_by.encode())])
        if isinstance(structure, Groups):
            scores = rng.random(mask.shape, np.float32)
            result[name] = best_of_groups(scores, np.ones_like(mask), structure, name in transposed)
        elif isinstance(structure, Filters):
            result[name] = mask[rng.permutation(len(mask))] if name in (coupled or {}) else mask
        else:
            result[name] = _permuted_blocks(mask, structure, name in transposed, rng)
    return result


def _permuted_blocks(
    mask: npt.NDArray[np.bool_], block: Block, transposed: bool, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    scores, counts = block_scores(mask.astype(np.float32), block, transposed)
    blocks = (scores > 0).reshape(-1)
    sizes = np.broadcast_to(counts, scores.shape).reshape(-1)
    for size in np.unique(sizes):
        place = np.flatnonzero(sizes == size)
        blocks[place] = blocks[rng.permutation(place)]
    return expand_blocks(blocks.reshape(scores.shape), mask.shape, block, transposed).copy()
