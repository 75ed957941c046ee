"""One layer that is pruned and solved for: its moments and the problem that they pose."""

from functools import cached_property

import numpy as np

from lth_deploy.reconstruction.mask_selection import most_zeros, select_kept
from lth_deploy.reconstruction.moments import Matrix, Moments
from lth_deploy.reconstruction.obs import (
    DAMPING,
    EXACT_WIDTH,
    Falls,
    error_curve,
    falls_of,
    in_rounds,
    one_by_one,
    problem_of,
)
from lth_deploy.structures import SINGLE, Block, Groups


class LayerProblem:
    """What can be asked of a layer once its inputs were seen. Rows are [group, outputs, inputs x taps], then the bias.

    taps: weights between an input and an output channel.
    """

    def __init__(self, moments: Moments, taps: int, damping: float = DAMPING) -> None:
        self._moments, self._taps = moments, taps
        self._problem = problem_of(moments, damping)
        self._alive = moments.rows[..., : moments.free] != 0

    @property
    def size(self) -> int:
        """Weights that may fall, the bias not among them."""
        return int(self._alive.size)

    def most_zeros(self, block: Block) -> int:
        """Zeros that `prune` surely reaches: of each group of outputs a block stays."""
        return most_zeros(self._alive, self._taps, block)

    def prune(self, zeros: int, structure: Block | Groups) -> Matrix:
        """Rows with at least `zeros` weights out, and the rest solved for; what was zero stays so."""
        if not isinstance(structure, Groups) and zeros <= self._alive.size - np.count_nonzero(self._alive):
            return self._moments.rows  # nothing falls, so that nothing has to make up for it
        if structure == SINGLE and self._moments.free <= EXACT_WIDTH:
            rows = self._problem.solve(one_by_one(self._falls, self._alive, zeros))
        else:
            rows = in_rounds(self._problem, self._alive, zeros, self._taps, structure)[1]
        return rows.astype(np.float64)

    @cached_property
    def _falls(self) -> Falls:
        return falls_of(self._problem, self._alive)

    def by_magnitude(self, zeros: int) -> Matrix:
        """The rows as they were, without the `zeros` smallest weights."""
        old, free = self._moments.rows, self._moments.free
        mask = select_kept(np.abs(old[..., :free]), self._alive, zeros, self._taps, SINGLE)
        return np.concatenate([np.where(mask, old[..., :free], 0.0), old[..., free:]], axis=2)

    def curve(self, block: Block) -> Matrix:
        """Squared relative error at 0 and at each of `obs.SHARES`."""
        return error_curve(self._problem, self._moments.rows, self._alive, self._taps, block).astype(np.float64)

    def error(self, rows: Matrix) -> float:
        """Root mean square of the output's error with these rows over that of the output."""
        return self._moments.error(rows)
