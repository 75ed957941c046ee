"""Which format a tensor gets, and the bound that no format can beat."""

import math
from typing import Literal

from lth_deploy.formats.base import Array, Occupancy, occupancy
from lth_deploy.formats.table import FORMATS

Preference = Literal["size", "load"]

LOAD_ZEROS = 0.7
"""Share of zeros from which `load` packs a tensor; below it a packed tensor takes too long to decode.

The decode of steps and gaps works on a few numbers for each stored value, that of a bitmask on several for
each weight: it takes a multiple of the dense file's load time at any sparsity (benchmarks/packing.py).
"""

FAST = ("dense", "steps8")
"""Formats that `load` chooses among."""


def choose(weights: Array, prefer: Preference = "size") -> str:
    """Name of the format that `weights` is stored in.

    `size`: the fewest bytes. `load`: the fewest bytes among the formats that a stock runtime decodes fast.
    """
    if not FORMATS.get("bitmask").supports(weights):
        return "dense"
    offers = sizes(occupancy(weights), prefer)
    return min(offers, key=lambda name: offers[name])


def sizes(found: Occupancy, prefer: Preference = "size") -> dict[str, int]:
    """Bytes of every format that a tensor may be stored in under a preference; `dense` is always one."""
    if prefer == "load":
        names = FAST if found.nonzeros <= (1.0 - LOAD_ZEROS) * found.elements else ("dense",)
        return {name: FORMATS.get(name).size(found) for name in names}
    return {name: FORMATS.get(name).size(found) for name in FORMATS}


def entropy_bound(weights: Array, value_bytes: int | None = None) -> float:
    """Fewest bytes for positions without structure, plus the raw values of `value_bytes` (or their type's).

    The entropy of n weights of which a share d is non-zero is n (-d log2 d - (1 - d) log2 (1 - d)) bits.
    """
    found = occupancy(weights)
    size = found.value_bytes if value_bytes is None else value_bytes
    return bound_of(found.elements, found.nonzeros, size)


def bound_of(elements: int, nonzeros: int, value_bytes: int) -> float:
    """`entropy_bound` in bytes from counts alone."""
    if not 0 < nonzeros < elements:
        return float(nonzeros * value_bytes)
    density = nonzeros / elements
    bits = -density * math.log2(density) - (1 - density) * math.log2(1 - density)
    return elements * bits / 8 + nonzeros * value_bytes
