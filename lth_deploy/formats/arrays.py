"""Names for numpy arrays of any type."""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
"""The arrays of one stored tensor, by name."""
