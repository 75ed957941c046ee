"""Optimal Brain Surgeon for one layer (Hassibi and Stork 1993), row by row as in ExactOBS (Frantar and Alistarh 2022).

All rows w of a layer share H, the sum of x x^T over samples. With A the inverse of H over the weights that are left,
taking out weight p costs w_p^2 / A_pp of squared error once the others have moved by -A_:p w_p / A_pp; A then loses
A_:p A_p: / A_pp. That is d^3 a row. Wider rows, and blocks, fall in rounds: in each, those that cost least all over the
layer by the A of whole rows, and what is left is solved for anew, all rows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.layer_floor import GROUP_OUTPUTS
from lth_deploy.reconstruction.mask_selection import Mask, select_kept
from lth_deploy.reconstruction.moments import Matrix, Moments
from lth_deploy.structures import Block, Groups

EXACT_WIDTH = 300
"""Widest rows that are taken apart weight by weight."""

DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to it: few samples do not say everything (SparseGPT's value)."""

ROUNDS, STEPS, LAST_STEPS = 5, 8, 32
"""Rounds of a wide layer, steps of conjugate gradients in each, and in the last."""

SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Where the error of a layer is sampled."""

SAMPLED_ROWS = 12


@dataclass(frozen=True)
class Problem:
    """A layer's rows, each the least of w H w^T - 2 w t^T, drawn to the old weights by the damping.

    hessian: [group, d, d]. target: [group, rows, d]. free: columns that may fall come before it, then the bias.
    inverse: of the Hessian.
    """

    hessian: Matrix
    target: Matrix
    free: int
    inverse: Matrix

    def solve(self, mask: Mask) -> Matrix:
        """The best weights [group, rows, d] that are zero where `mask` [group, rows, free] is False."""
        best = np.zeros_like(self.target)
        for group, row in np.ndindex(*self.target.shape[:2]):
            at = np.flatnonzero(self._support(mask[group, row]))
            hessian, target = self.hessian[group][np.ix_(at, at)], self.target[group, row, at]
            best[group, row, at] = np.linalg.solve(hessian, target)
        return best

    def approach(self, weights: Matrix, mask: Mask, steps: int) -> Matrix:
        """From `weights` towards `solve`, all rows at once: conjugate gradients, preconditioned by H's diagonal."""
        support = self._support(mask)
        scale = 1.0 / np.diagonal(self.hessian, axis1=1, axis2=2)[:, None]
        weights = np.where(support, weights, 0.0)
        residual = np.where(support, self.target - weights @ self.hessian, 0.0)
        direction, power = residual * scale, np.sum(np.square(residual) * scale, axis=2, keepdims=True)
        for _ in range(steps):
            along = np.where(support, direction @ self.hessian, 0.0)
            length = _ratio(power, np.sum(direction * along, axis=2, keepdims=True))
            weights = weights + length * direction
            residual = residual - length * along
            before, power = power, np.sum(np.square(residual) * scale, axis=2, keepdims=True)
            direction = residual * scale + _ratio(power, before) * direction
        return weights

    def whole(self, alive: Mask) -> tuple[Matrix, Matrix]:
        """The best weights where nothing falls that lives, and the diagonal of H's inverse, [group, 1, free]."""
        weights: Matrix = self.target @ self.inverse
        if not alive.all():
            weights = self.approach(weights, alive, LAST_STEPS)
        return weights, np.diagonal(self.inverse, axis1=1, axis2=2)[:, None, : self.free]

    def _support(self, mask: Mask) -> Mask:
        bias = self.hessian.shape[1] - self.free
        return np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, bias)], constant_values=True)


def problem_of(moments: Moments, damping: float = DAMPING) -> Problem:
    """The problem that a layer's moments pose; wide ones in single precision, which the damping allows."""
    width = moments.hessian.shape[1]
    mean = np.trace(moments.hessian, axis1=1, axis2=2) / width
    hessian = moments.hessian + np.maximum(damping * mean, 1e-12)[:, None, None] * np.eye(width)
    dtype = np.float64 if moments.free <= EXACT_WIDTH else np.float32
    target = (moments.rows @ hessian).astype(dtype)
    hessian = hessian.astype(dtype)
    return Problem(hessian, target, moments.free, np.linalg.inv(hessian))


@dataclass(frozen=True)
class Falls:
    """The order in which the weights of every row fall, and the squared error that each adds, rising."""

    orders: list[npt.NDArray[np.intp]]
    costs: list[Matrix]


def falls_of(problem: Problem, alive: Mask) -> Falls:
    """Exact OBS: each row taken apart by itself, to its last weight; `alive`: [group, rows, free]."""
    starts = problem.target @ problem.inverse
    rows = np.ndindex(*alive.shape[:2])
    found = [fall_apart(problem.inverse[g], starts[g, row], alive[g, row]) for g, row in rows]
    # A row falls in order even where a later weight is cheaper than the one before.
    return Falls([order for order, _ in found], [np.maximum.accumulate(costs) for _, costs in found])


def one_by_one(falls: Falls, alive: Mask, zeros: int) -> Mask:
    """The mask with `zeros` weights out: rows share them by the cost of the next weight, of equal ones the first.

    Of each group of outputs the weight that costs most stays; see `layer_floor`.
    """
    owner = np.repeat(np.arange(len(falls.costs)), [len(costs) for costs in falls.costs])
    falling = max(zeros - (alive.size - int(np.count_nonzero(alive))), 0)
    costs = np.concatenate(falls.costs)
    costs[_last_of_groups(falls.costs)] = np.inf
    cheapest = np.argsort(costs, kind="stable")[:falling]
    mask = alive.copy()
    flat = mask.reshape(-1, alive.shape[2])
    for row, count in enumerate(np.bincount(owner[cheapest], minlength=len(flat))):
        flat[row, falls.orders[row][:count]] = False
    return mask


def _last_of_groups(costs: Sequence[Matrix]) -> list[int]:
    """Of each group of outputs the place of the weight that costs most, counted over all rows; it is a row's last."""
    ends, places = np.cumsum([len(row) for row in costs]), []
    for first in range(0, len(costs), GROUP_OUTPUTS):
        last = [row for row in range(first, min(first + GROUP_OUTPUTS, len(costs))) if len(costs[row])]
        if last:
            places.append(int(ends[max(last, key=lambda row: float(costs[row][-1]))]) - 1)
    return places


def fall_apart(inverse: Matrix, weights: Matrix, alive: Mask) -> tuple[npt.NDArray[np.intp], Matrix]:
    """The order in which the living weights of a row fall, and the squared error that each adds.

    Args:
        inverse: [d, d], of H over all weights.
        weights: [d], the best ones with nothing left out.
        alive: [free], what may be pruned; False where it is pruned already.
    """
    inverse, weights = inverse.copy(), weights.copy()
    for dead in np.flatnonzero(~alive):
        _take_out(inverse, weights, int(dead))
    left = alive.copy()
    order = np.empty(int(np.count_nonzero(left)), np.intp)
    costs = np.empty(len(order))
    diagonal = np.diagonal(inverse)[: len(alive)]
    for number in range(len(order)):
        price = np.full(len(left), np.inf)
        price[left] = np.square(weights[: len(left)][left]) / diagonal[left]
        order[number] = place = int(price.argmin())
        costs[number] = price[place]
        _take_out(inverse, weights, place)
        left[place] = False
    return order, costs


def in_rounds(problem: Problem, alive: Mask, zeros: int, taps: int, structure: Block | Groups) -> tuple[Mask, Matrix]:
    """The same, cheaper for wide layers: `zeros` is reached in shrinking steps, with all rows moved after each."""
    weights, spread = problem.whole(alive)
    mask, before = alive, alive.size - int(np.count_nonzero(alive))
    rounds = 1 if isinstance(structure, Groups) else ROUNDS
    for number in range(1, rounds + 1):
        goal = zeros if number == rounds else before + round((zeros - before) * (1 - (1 - number / rounds) ** 2))
        mask = select_kept(np.square(weights[..., : problem.free]) / spread, mask, goal, taps, structure, floor=True)
        weights = problem.approach(weights, mask, STEPS if number < rounds else LAST_STEPS)
    return mask, weights


def error_curve(problem: Problem, rows: Matrix, alive: Mask, taps: int, block: Block) -> Matrix:
    """Squared error over squared output at 0 and at each of `SHARES`, found on some of the rows.

    rows: the old weights [group, rows, d].
    """
    step = max(1, rows.shape[1] // SAMPLED_ROWS)
    # Rows that fall together stay together.
    chosen = np.arange(rows.shape[1]) // block.outputs % step == 0
    part = Problem(problem.hessian, problem.target[:, chosen], problem.free, problem.inverse)
    old, mask = rows[:, chosen].astype(part.target.dtype), alive[:, chosen]
    power = max(float(np.sum(part.target * old)), 1e-30)
    weights, spread = part.whole(mask)
    errors = [0.0]
    for share in SHARES:
        costs = np.square(weights[..., : part.free]) / spread
        mask = select_kept(costs, mask, round(share * mask.size), taps, block)
        weights = part.approach(weights, mask, STEPS)
        change = weights - old
        errors.append(max(float(np.sum((change @ part.hessian) * change)) / power, errors[-1]))
    return np.array(errors)


def _take_out(inverse: Matrix, weights: Matrix, place: int) -> None:
    """Move the other weights for that at `place`, and make `inverse` that of H without it."""
    row = inverse[place] / inverse[place, place]
    weights -= weights[place] * row
    inverse -= np.outer(inverse[:, place].copy(), row)
    # Exactly, not nearly.
    weights[place] = 0.0
    inverse[place] = inverse[:, place] = 0.0


def _ratio(above: Matrix, below: Matrix) -> Matrix:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
