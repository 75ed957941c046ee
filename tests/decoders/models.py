"""Signatures and outputs of detectors, made up so that the right detections are known."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lth_deploy.decoders import DECODERS, FamilyDecoder
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature, TensorType

Arrays = dict[str, np.ndarray[Any, Any]]
Shapes = Mapping[str, tuple[int | None, ...]]


def signature(
    outputs: Shapes,
    side: int | None = 64,
    *,
    properties: Mapping[str, str] | None = None,
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]] | None = None,
    center_boxes: bool = False,
) -> Signature:
    """A model with one image of `side` pixels; outputs named index..., label... or num... are int64, others float32."""
    given = inputs or {"images": ("float32", (1, 3, side, side))}
    return Signature(
        [TensorType(name, dtype, shape) for name, (dtype, shape) in given.items()],
        [TensorType(name, _dtype(name), shape) for name, shape in outputs.items()],
        properties or {},
        center_boxes,
    )


def _dtype(name: str) -> str:
    return "int64" if name.startswith(("index", "label", "num")) else "float32"


def fitted(name: str, model: Signature, hints: Hints | None = None) -> FamilyDecoder:
    """The decoder of the family `name`, which fits."""
    decoder = DECODERS.get(name).fit(model, hints or Hints(families=(name,)))
    assert not isinstance(decoder, str), decoder
    return decoder


def photo(height: int = 64, width: int = 64) -> np.ndarray[Any, Any]:
    """An image of noise."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def placed_as(decoder: FamilyDecoder, height: int = 64, width: int = 64) -> Any:
    """The context of an image of that size."""
    return decoder.prepare(photo(height, width))[1]
