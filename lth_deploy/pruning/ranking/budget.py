"""What a level leaves to fall, in weights or in multiplications."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import RecipeError
from lth_deploy.pruning.layer import PrunableLayer

Allocation = Literal["global", "per_layer", "erk", "macs"]
"""How the zeros of a level are spread over the layers; see `prune`."""


def budget_left(
    layers: Sequence[PrunableLayer],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    sparsity: float,
    block: float,
    macs: bool,
) -> float:
    """What is still to fall, in weights or in MACs; nothing when the level before overshot to here already.

    `block`: the weights of the largest block that falls as a whole.

    Raises:
        RecipeError: more is pruned than `sparsity` asks for.
    """
    prices = [layer.positions if macs else 1.0 for layer in layers]
    total = sum(layer.weights.size * price for layer, price in zip(layers, prices, strict=True))
    gone = sum(
        (layer.weights.size - int(np.count_nonzero(masks[layer.name]))) * price
        for layer, price in zip(layers, prices, strict=True)
    )
    target = sparsity * total if macs else round(sparsity * total)
    # A level before may have overshot by the block that crossed its line, and rounding by one weight more.
    overshoot = (block + 1) * max(prices, default=0.0)
    if gone > target + overshoot:
        raise RecipeError(
            f"a sparsity of {sparsity:.4g} is asked for, but {gone / total:.4g} is reached already; "
            "levels must rise, and blocks that were pruned stay pruned"
        )
    return max(target - gone, 0.0)


def at_most(share: float) -> str:
    """A share in digits that are never more than it is, so that a recipe may ask for it."""
    return f"{math.floor(1e6 * share + 1e-6) / 1e6:.6g}"
