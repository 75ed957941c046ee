"""Sparse formats of tensors: numpy only, one file a format, all in one registry."""

from lth_deploy.formats.base import Format, Occupancy
from lth_deploy.formats.choice import LOAD_ZEROS, Preference, bound_of, choose, entropy_bound, sizes
from lth_deploy.formats.packed import occupancy
from lth_deploy.formats.table import CODERS, FORMATS

__all__ = [
    "CODERS",
    "FORMATS",
    "LOAD_ZEROS",
    "Format",
    "Occupancy",
    "Preference",
    "bound_of",
    "choose",
    "entropy_bound",
    "occupancy",
    "sizes",
]
