"""The Erdos-Renyi-Kernel allocation: the larger a layer, the sparser."""

from collections.abc import Sequence

import numpy as np

Shape = tuple[int, ...]


def erk_zeros(shapes: Sequence[Shape], sparsity: float) -> list[int]:
    """Zeros of each layer, `round(sparsity * weights)` in all.

    The density of a layer is in proportion to (outputs + inputs + kernel height + width) / their product; a layer
    that would be denser than dense stays dense (Evci et al. 2020, section 3 and their code). What rounding leaves
    over goes to the layers with the largest remainders, the earlier one first.
    """
    sizes = np.array([np.prod(shape) for shape in shapes], np.float64)
    wanted = round(sparsity * float(sizes.sum()))
    exact = sizes * (1.0 - _densities(shapes, sizes, float(sizes.sum()) - wanted))
    zeros = np.floor(exact + 1e-9).astype(np.int64)
    left = wanted - int(zeros.sum())
    for layer in np.argsort(zeros - exact, kind="stable")[:left]:
        zeros[layer] += 1
    return [int(count) for count in zeros]


def _densities(shapes: Sequence[Shape], sizes: np.ndarray, keep: float) -> np.ndarray:
    raw = np.array([sum(shape) for shape in shapes], np.float64) / sizes
    is_dense = np.zeros(len(shapes), np.bool_)
    while True:
        factor = (keep - sizes[is_dense].sum()) / (raw * sizes)[~is_dense].sum()
        peak = raw[~is_dense].max()
        if peak * factor <= 1.0:
            return np.where(is_dense, 1.0, np.minimum(raw * factor, 1.0))
        is_dense |= raw == peak
