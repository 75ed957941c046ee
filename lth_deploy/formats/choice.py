"""Which format a tensor gets, and the bound that no format can beat."""

import math
from typing import Literal

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.formats.base import within_budget
from lth_deploy.formats.blocks import has_whole_blocks
from lth_deploy.formats.packed import occupancy
from lth_deploy.formats.table import FORMATS
from lth_deploy.structures import BLOCKS, INPUTS_FIRST, SINGLE, Block

Preference = Literal["size", "load"]

LOAD_ZEROS = 0.7
"""Share of zeros from which `load` packs a tensor; below it a packed tensor takes too long to decode.

The decode of steps and gaps works on a few numbers for each stored unit, that of a bitmask on several for
each unit: it takes a multiple of the dense file's load time at any sparsity (benchmarks/packing.py).
"""

FAST = "steps8"
"""The coding that `load` uses, for single weights and blocks."""

_FULL_BLOCKS = 0.7
"""Share of weights other than zero in blocks of [inputs, outputs] from which on these blocks are tried.

Few layers store their inputs first, and where more zeros are stored, the positions that are saved do not pay for them.
"""


def choose(weights: Array, prefer: Preference = "size") -> str:
    """Name of the format that `weights` is stored in.

    `size`: the fewest bytes. `load`: the fewest bytes among the formats that a stock runtime decodes fast.
    """
    if not FORMATS.get("bitmask").supports(weights):
        return "dense"
    offers = sizes(weights, prefer)
    return min(offers, key=lambda name: offers[name])


def sizes(weights: Array, prefer: Preference = "size") -> dict[str, int]:
    """Bytes of every format that a tensor may be stored in under a preference; `dense` is always one."""
    found: dict[str, int] = {}
    for block in _blocks_of(weights):
        own = occupancy(weights, block)
        packs = prefer == "size" or own.kept <= (1.0 - LOAD_ZEROS) * own.units
        for name in FORMATS:
            form = FORMATS.get(name)
            if form.block == block and (name == "dense" or (packs and (prefer == "size" or name.startswith(FAST)))):
                found[name] = form.size(own)
    return {
        name: size
        for name, size in found.items()
        if name == "dense" or within_budget(weights.size, weights.dtype, size)
    }


def _blocks_of(weights: Array) -> list[Block]:
    """The blocks that a tensor is made of; those of inputs by outputs only where most weights in them are not zero."""
    blocks = [block for block in BLOCKS.values() if has_whole_blocks(weights.shape, block)]
    kept = weights != 0
    worth = np.count_nonzero(kept) / _FULL_BLOCKS
    for block in (block for block in INPUTS_FIRST if has_whole_blocks(weights.shape, block)):
        d0, d1 = weights.shape[:2]
        cut = kept.reshape(d0 // block.outputs, block.outputs, d1 // block.inputs, block.inputs, -1)
        if block.size * np.count_nonzero(cut.any(axis=(1, 3))) <= worth:
            blocks.append(block)
    return blocks


def entropy_bound(weights: Array, value_bytes: int | None = None, block: Block = SINGLE) -> float:
    """Fewest bytes for positions without structure, plus the raw values of `value_bytes` (or their type's).

    The entropy of n blocks of which a share d is kept is n (-d log2 d - (1 - d) log2 (1 - d)) bits.
    """
    found = occupancy(weights, block)
    size = found.unit_bytes if value_bytes is None else value_bytes * block.size
    return bound_of(found.units, found.kept, size)


def bound_of(units: int, kept: int, unit_bytes: int) -> float:
    """`entropy_bound` in bytes from counts alone."""
    if not 0 < kept < units:
        return float(kept * unit_bytes)
    density = kept / units
    bits = -density * math.log2(density) - (1 - density) * math.log2(1 - density)
    return units * bits / 8 + kept * unit_bytes
