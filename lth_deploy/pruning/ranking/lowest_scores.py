"""Choosing exactly which entries fall: the lowest scores up to a budget, ties in a fixed order.

Floats sort like their bit patterns, once those of negative numbers are turned round; so two passes over the top
16 bits find the bin in which the budget ends, and only that bin is sorted. Nothing is concatenated over layers, and
no layer is sorted whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import TrainingError

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_BINS = 1 << 16


@dataclass(frozen=True)
class Candidates:
    """The entries of one layer that may fall.

    scores: float32, finite. alive: False where an entry fell before. cost: what one entry takes
    from the budget, a number or an array that broadcasts to `scores`.
    """

    name: str
    scores: FloatArray
    alive: BoolArray
    cost: float | npt.NDArray[np.float32] | npt.NDArray[np.float64]


def lowest(layers: Sequence[Candidates], budget: float) -> list[BoolArray]:
    """The shortest run of living entries, lowest score first, whose costs reach `budget`.

    Equal scores fall in order of layer and flat index, so the result does not depend on a sort.

    Returns:
        One array a layer, shaped like its scores: True where the entry falls.

    Raises:
        TrainingError: a score is not finite.
    """
    keys = [_keys(layer) for layer in layers]
    totals = np.zeros(_BINS)
    for layer, key in zip(layers, keys, strict=True):
        totals += _histogram(layer, key)
    reached = np.cumsum(totals)
    edge = int(np.searchsorted(reached, budget - 1e-9 * max(budget, 1.0)))
    if budget <= 0:
        return [np.zeros(layer.scores.shape, np.bool_) for layer in layers]
    before = reached[edge - 1] if edge else 0.0
    falls = [(key < edge) & layer.alive for layer, key in zip(layers, keys, strict=True)]
    if edge < _BINS:
        _fill_from_edge(layers, keys, falls, edge, budget - before)
    return falls


def check_finite(name: str, scores: FloatArray) -> None:
    """Refuse scores that cannot be ranked.

    Raises:
        TrainingError: a score of the layer `name` is not finite.
    """
    if not np.isfinite(scores).all():
        count = int(np.count_nonzero(~np.isfinite(scores)))
        raise TrainingError(
            f"layer '{name}' has {count} weights that are not finite, or whose scores are not; "
            "pruning stops before ranking them: lower the learning rate or clip gradients"
        )


def _keys(layer: Candidates) -> npt.NDArray[np.uint16]:
    scores = np.ascontiguousarray(layer.scores, np.float32)
    check_finite(layer.name, scores)
    top = (scores.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    sign = np.uint16(0x8000)
    if not (top & sign).any():
        return top | sign
    # Minus zero equals zero, and must not fall before it.
    top = ((scores + np.float32(0)).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.where(top & sign, ~top, top | sign)


def _histogram(layer: Candidates, key: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    if layer.alive.all():
        living, cost = key.reshape(-1), layer.cost
    else:
        living = key[layer.alive]
        cost = layer.cost
        if np.ndim(cost):
            cost = np.broadcast_to(cost, layer.scores.shape)[layer.alive]
    if np.ndim(cost) == 0:
        return np.bincount(living, minlength=_BINS).astype(np.float64) * float(cost)
    weights = np.broadcast_to(cost, living.shape if living.size != layer.scores.size else layer.scores.shape)
    return np.bincount(living, weights=weights.reshape(-1), minlength=_BINS).astype(np.float64)


def _fill_from_edge(
    layers: Sequence[Candidates],
    keys: list[npt.NDArray[np.uint16]],
    falls: list[BoolArray],
    edge: int,
    budget: float,
) -> None:
    """Sort the entries of the bin in which the budget ends, and let the first ones fall."""
    scores, owners, places, costs = [], [], [], []
    for number, (layer, key) in enumerate(zip(layers, keys, strict=True)):
        place = np.flatnonzero((key == edge) & layer.alive)
        scores.append(layer.scores.reshape(-1)[place])
        owners.append(np.full(place.size, number, np.int32))
        places.append(place)
        costs.append(np.broadcast_to(layer.cost, layer.scores.shape).reshape(-1)[place].astype(np.float64))
    order = np.argsort(np.concatenate(scores), kind="stable")
    spent = np.cumsum(np.concatenate(costs)[order])
    count = int(np.searchsorted(spent, budget - 1e-9 * max(budget, 1.0))) + 1
    chosen, owner, place = order[:count], np.concatenate(owners), np.concatenate(places)
    for number, fall in enumerate(falls):
        of_layer = chosen[owner[chosen] == number]
        fall.reshape(-1)[place[of_layer]] = True
