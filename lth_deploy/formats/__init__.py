"""Sparse formats of tensors: numpy only, one file a format, all in one registry."""

from lth_deploy.formats.base import Array, Arrays, Format, Occupancy, occupancy
from lth_deploy.formats.bitmask import Bitmask
from lth_deploy.formats.choice import LOAD_ZEROS, Preference, bound_of, choose, entropy_bound, sizes
from lth_deploy.formats.dense import Dense
from lth_deploy.formats.gaps import Gaps
from lth_deploy.formats.steps import Steps
from lth_deploy.formats.table import FORMATS

__all__ = [
    "FORMATS",
    "LOAD_ZEROS",
    "Array",
    "Arrays",
    "Bitmask",
    "Dense",
    "Format",
    "Gaps",
    "Occupancy",
    "Preference",
    "Steps",
    "bound_of",
    "choose",
    "entropy_bound",
    "occupancy",
    "sizes",
]
