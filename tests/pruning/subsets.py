"""Order among masks."""

from collections.abc import Mapping

import numpy as np

from lth_deploy.mask import BoolArray


def is_subset(inner: Mapping[str, BoolArray], outer: Mapping[str, BoolArray]) -> bool:
    """Whether everything that `inner` keeps is kept by `outer` too."""
    return all(not np.any(mask & ~outer[name]) for name, mask in inner.items())
