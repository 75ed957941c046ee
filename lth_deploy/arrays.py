"""Names for numpy arrays of any type, and for what a model takes and returns."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

Arrays = dict[str, Array]
"""Arrays by name: those of one stored tensor, or the outputs of a model."""

Feeds = Mapping[str, Array]
"""The inputs of one run of a model, by name."""
