"""Criteria: how much a single weight is worth.

Every criterion is a pure function of one layer. Those that depend on data read the layer's `signal`, which
`signals.py` measures on a model; so a criterion is tested without torch, and a new one is one function.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.registry import Registry

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Signal = Literal["gradient", "flow", "movement"]
"""gradient: of the loss. flow: gradient of the synaptic flow. movement: sum of -w dL/dw over a training."""


@dataclass(frozen=True)
class Criterion:
    """Scores for one layer: float32, finite, the shape of the weights; low scores are pruned first.

    score: from the layer, the mask of the weights that are left, and a seed. additive: the score of several weights
    is the sum of theirs, as a change of the loss is; otherwise its square is. signal: what the layer must carry.
    rounds: in how many steps, with a new signal before each, a level is reached. signed: scores may be negative.
    """

    score: Callable[[PrunableLayer, BoolArray, int], FloatArray]
    additive: bool = False
    signal: Signal | None = None
    rounds: int = 1
    signed: bool = False

    def __call__(self, layer: PrunableLayer, mask: BoolArray, seed: int = 0) -> FloatArray:
        """Score `layer`, of which `mask` is left."""
        return self.score(layer, mask, seed)


CRITERIA: Registry[Criterion] = Registry("criterion")


def _magnitude(layer: PrunableLayer, mask: BoolArray, seed: int) -> FloatArray:
    return np.abs(layer.weights)


def _random(layer: PrunableLayer, mask: BoolArray, seed: int) -> FloatArray:
    rng = np.random.default_rng([seed, zlib.crc32(layer.name.encode())])
    return rng.random(layer.weights.shape, np.float32)


def _lamp(layer: PrunableLayer, mask: BoolArray, seed: int) -> FloatArray:
    squares = np.square(layer.weights.reshape(-1), dtype=np.float64)
    squares[~mask.reshape(-1)] = 0.0
    order = np.argsort(squares, kind="stable")
    ascending = squares[order]
    # The sum over all weights that are not smaller, the weight itself included.
    rest = np.cumsum(ascending[::-1])[::-1]
    scores = np.zeros(squares.size, np.float32)
    scores[order] = np.divide(ascending, rest, out=np.zeros_like(rest), where=rest > 0)
    return scores.reshape(layer.weights.shape)


def _sensitivity(layer: PrunableLayer, mask: BoolArray, seed: int) -> FloatArray:
    scores: FloatArray = np.abs(layer.weights * _signal(layer))
    return scores


def _movement(layer: PrunableLayer, mask: BoolArray, seed: int) -> FloatArray:
    return _signal(layer)


magnitude = CRITERIA.add("magnitude", Criterion(_magnitude))
"""|w| (Han et al. 2015; the criterion of Girish et al. 2021, section 3)."""

random = CRITERIA.add("random", Criterion(_random, additive=True))
"""Uniform numbers, the same for a layer at every level, so that levels are nested. A criterion to lose against."""

lamp = CRITERIA.add("lamp", Criterion(_lamp, additive=True))
"""w^2 over the sum of the squares that are not smaller (Lee et al. 2021, equation 4): meant for allocation `global`,
where it spreads the zeros over the layers; each keeps at least its largest weight."""

snip = CRITERIA.add("snip", Criterion(_sensitivity, additive=True, signal="gradient"))
"""|w dL/dw| over some batches (Lee et al. 2019, equation 6). As published it ranks the weights before training:
`pruning.ranked: initial`."""

synflow = CRITERIA.add("synflow", Criterion(_sensitivity, additive=True, signal="flow", rounds=100))
"""|w| dR/d|w|, with R the sum of the outputs for an input of ones and all weights made positive, in 100 steps of
equal ratio (Tanaka et al. 2020, algorithm 1). Needs no data; as published with `pruning.ranked: initial`."""

movement = CRITERIA.add("movement", Criterion(_movement, additive=True, signal="movement", signed=True))
"""-w dL/dw summed over the training before (Sanh et al. 2020, equation 3): weights that move towards zero fall first.
Other than there a weight that fell does not return, and the sum is no parameter of its own."""


def _signal(layer: PrunableLayer) -> FloatArray:
    if layer.signal is None:
        raise ValueError(f"layer '{layer.name}' carries no signal")  # the ranking measures what a criterion names
    return layer.signal
