"""Sparse formats of tensors: numpy only, one file a format, all in one registry."""

from lth_deploy.formats.base import Array, Arrays, Format, Occupancy
from lth_deploy.formats.blocks import BLOCKS, SINGLE, Block
from lth_deploy.formats.choice import LOAD_ZEROS, Preference, bound_of, choose, entropy_bound, sizes
from lth_deploy.formats.packed import occupancy
from lth_deploy.formats.table import CODERS, FORMATS

__all__ = [
    "BLOCKS",
    "CODERS",
    "FORMATS",
    "LOAD_ZEROS",
    "SINGLE",
    "Array",
    "Arrays",
    "Block",
    "Format",
    "Occupancy",
    "Preference",
    "bound_of",
    "choose",
    "entropy_bound",
    "occupancy",
    "sizes",
]
