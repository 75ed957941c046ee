"""Which weights of a layer fall: the cheapest ones, blocks, or those beyond the N of every M inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unit:
    """What falls together: `outputs` x `inputs` channels at one tap, smaller at the edges of a layer.

    keep: of `inputs` channels in a row, so many weights of each output stay (N:M); 0 for blocks that fall as a whole.
    """

    outputs: int = 1
    inputs: int = 1
    keep: int = 0

    @property
    def single(self) -> bool:
        """Whether every weight falls by itself."""
        return self.outputs == self.inputs == 1


UNITS = {
    "single": Unit(),
    "in4": Unit(1, 4),
    "2x4": Unit(2, 4),
    "out2": Unit(2, 1),
    "1:4": Unit(1, 4, 1),
    "2:4": Unit(1, 4, 2),
    "4:8": Unit(1, 8, 4),
}


def fallen(costs: Costs, alive: Mask, zeros: int, taps: int, unit: Unit) -> Mask:
    """What is left when at least `zeros` weights are zero: the cheapest fall, of equal ones the first.

    Args:
        costs: of each weight, [group, outputs, inputs x taps], not negative.
        alive: False where a weight fell before.
        zeros: reached exactly by single weights, and overshot by less than a block; N:M has its own number.
        taps: weights between an input and an output channel.
        unit: what falls together.
    """
    split = (*costs.shape[:2], -1, taps)
    if unit.keep:
        return alive & _best(np.where(alive, costs, -1.0).reshape(split), unit).reshape(costs.shape)
    blocks, count = (_summed(one.reshape(split), unit) for one in (np.where(alive, costs, 0.0), alive.astype(float)))
    price = np.divide(blocks, count, out=np.full(blocks.shape, np.inf), where=count > 0).reshape(-1)
    order = np.argsort(price, kind="stable")
    gone = alive.size - int(np.count_nonzero(alive)) + np.cumsum(count.reshape(-1)[order])
    falls = np.zeros(price.size, np.bool_)
    if zeros > alive.size - np.count_nonzero(alive):
        falls[order[: int(np.searchsorted(gone, zeros)) + 1]] = True
    wide = falls.reshape(blocks.shape).repeat(unit.outputs, axis=1).repeat(unit.inputs, axis=2)
    channels = costs.shape[2] // taps
    return alive & ~wide[:, : costs.shape[1], :channels].reshape(costs.shape)


def _summed(values: Costs, unit: Unit) -> Costs:
    by_rows = np.add.reduceat(values, np.arange(0, values.shape[1], unit.outputs), axis=1)
    summed: Costs = np.add.reduceat(by_rows, np.arange(0, values.shape[2], unit.inputs), axis=2)
    return summed


def _best(costs: Costs, unit: Unit) -> Mask:
    best = np.zeros(costs.shape, np.bool_)
    for start in range(0, costs.shape[2], unit.inputs):
        part = costs[:, :, start : start + unit.inputs]
        order = np.argsort(part, axis=2, kind="stable")
        np.put_along_axis(best[:, :, start : start + unit.inputs], order[:, :, -unit.keep :], True, axis=2)
    return best
