"""A layer as the ranking sees it: arrays, and nothing of torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PrunableLayer:
    """One layer whose weights may be pruned.

    weights: float32 [O, I, ...taps], or [I, O, ...taps] where `transposed`. positions: how many output
    positions of one image every weight is multiplied for, so that MACs = weights x positions. signal: what the
    criterion looks at besides the weights, shaped like them; None where it needs nothing. coupled: the layers that lose
    the same output channels as this one, itself among them; none where its channels cannot be removed.
    """

    name: str
    weights: FloatArray
    transposed: bool
    positions: float
    signal: FloatArray | None = None
    coupled: tuple[str, ...] = ()
