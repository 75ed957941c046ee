"""Quads: what the kernels compute or leave out of a layer between bytes."""

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.kernels.program.limits import QUAD


def kept_quads(weights: Array) -> tuple[int, int]:
    """Quads with a weight other than zero, and pairs of them: of outputs 2 i and 2 i + 1 either has one.

    A quad is 4 consecutive inputs of an output at a tap; missing ones count as zero.
    """
    outputs, inputs = weights.shape[:2]
    cut = np.zeros((-(-outputs // 2) * 2, -(-inputs // QUAD) * QUAD, weights[0, 0].size), np.bool_)
    cut[:outputs, :inputs] = weights.reshape(outputs, inputs, -1) != 0
    quads = cut.reshape(len(cut), -1, QUAD, cut.shape[2]).any(axis=2)
    return int(quads.sum()), int(quads.reshape(-1, 2, *quads.shape[1:]).any(axis=1).sum())


def quad_density(weights: Array) -> float:
    """Share of quads that hold a weight other than zero."""
    outputs, inputs = weights.shape[:2]
    return kept_quads(weights)[0] / float(outputs * -(-inputs // QUAD) * weights[0, 0].size)
