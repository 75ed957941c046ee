"""Criteria: how much a single weight is worth. A criterion is a pure function of the weights."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from lth_deploy.registry import Registry

FloatArray = npt.NDArray[np.float32]


class Criterion(Protocol):
    """Scores for one layer: float32, not negative, the shape of the weights; low scores are pruned first."""

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Score `weights`."""


CRITERIA: Registry[Criterion] = Registry("criterion")


@CRITERIA.register("magnitude")
def magnitude(weights: FloatArray) -> FloatArray:
    """|w| (Han et al. 2015; the criterion of Girish et al. 2021, section 3)."""
    return np.abs(weights)
