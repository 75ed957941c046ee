"""How much two masks agree, and how much masks of the same densities would agree by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.errors import DataError
from lth_deploy.mask import Masks


@dataclass(frozen=True)
class LayerOverlap:
    """One layer that both masks have: its weights, those that each keeps, and those that both keep."""

    name: str
    elements: int
    first: int
    second: int
    both: int

    @property
    def iou(self) -> float | None:
        """Weights that both keep over those that either keeps; None where neither keeps any."""
        return _iou([self])

    @property
    def by_chance(self) -> float | None:
        """The IoU to expect of two masks that keep as many weights of the layer, wherever they are."""
        return _iou_by_chance([self])


@dataclass(frozen=True)
class MaskOverlap:
    """Layers of one name and shape, and the names of layers that only one has, or in another shape."""

    layers: tuple[LayerOverlap, ...]
    left_out: tuple[str, ...]

    @property
    def iou(self) -> float | None:
        """Over all layers together."""
        return _iou(self.layers)

    @property
    def by_chance(self) -> float | None:
        """The same for masks that keep as many weights in each layer as these do."""
        return _iou_by_chance(self.layers)


def mask_overlap(first: Masks, second: Masks) -> MaskOverlap:
    """Compare two masks layer by layer, in the order of `first`.

    Raises:
        DataError: they have no layer in common.
    """
    shared = [name for name, mask in first.items() if name in second and second[name].shape == mask.shape]
    if not shared:
        raise DataError("the masks have no layer of one name and shape in common; compare tickets of one backbone")
    layers = tuple(
        LayerOverlap(
            name,
            first[name].size,
            int(np.count_nonzero(first[name])),
            int(np.count_nonzero(second[name])),
            int(np.count_nonzero(first[name] & second[name])),
        )
        for name in shared
    )
    return MaskOverlap(layers, tuple(name for name in dict.fromkeys([*first, *second]) if name not in set(shared)))


def _iou(layers: Sequence[LayerOverlap]) -> float | None:
    either = sum(layer.first + layer.second - layer.both for layer in layers)
    return sum(layer.both for layer in layers) / either if either else None


def _iou_by_chance(layers: Sequence[LayerOverlap]) -> float | None:
    # A weight that the first keeps is kept by the second with the probability second / elements.
    both = sum(layer.first * layer.second / layer.elements for layer in layers if layer.elements)
    either = sum(layer.first + layer.second for layer in layers) - both
    return both / either if either else None
