"""Bytes that the parameters of a trial take in each way to store them, computed from its masks."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from lth_deploy.element_types import FLOAT16, FLOAT32, INT8, ElementType
from lth_deploy.formats import FORMATS, occupancy
from lth_deploy.formats.choice import sizes
from lth_deploy.mask import Masks
from lth_deploy.measure.size import coo_bytes
from lth_deploy.reporting.analysis.schema import Storage

Shapes = Mapping[str, Sequence[int]]


def dense_storage(trial: str, parameters: int) -> Storage:
    """Every parameter in 32 bit."""
    return Storage(trial=trial, name="all in fp32", values=0, positions=0, dense=4 * parameters)


def sparse_storages(trial: str, masks: Masks, shapes: Shapes, parameters: int, *, quantized: bool) -> list[Storage]:
    """With ONNX's sparse initializers, and packed with values of 32, 16 or (`quantized`) 8 bit.

    shapes: of all layers; `masks` has those that were pruned. Other parameters, such as norms, stay in 32 bit.
    """
    rest = 4 * (parameters - sum(prod(shape) for shape in shapes.values()))
    kept = {name: masks.get(name, np.ones(tuple(shape), np.bool_)) for name, shape in shapes.items()}
    types = (INT8,) if quantized else (FLOAT32, FLOAT16)
    packed = [_packed(trial, kept, rest, kind) for kind in types]
    return packed if quantized else [_coordinates(trial, kept, rest), *packed]


def _packed(trial: str, kept: Masks, rest: int, kind: ElementType) -> Storage:
    """Each layer in the coding that takes the fewest bytes."""
    values = positions = 0
    dense = rest
    for mask in kept.values():
        # The bytes of a coding depend on where weights are and on their type, not on their values.
        weights: npt.NDArray[np.generic] = mask.astype(kind.numpy)
        offers = sizes(weights)
        coding = min(offers, key=lambda one: offers[one])
        if coding == "dense":
            dense += offers[coding]
            continue
        own = occupancy(weights, FORMATS.get(coding).block)
        values += own.kept * own.unit_bytes
        positions += offers[coding] - own.kept * own.unit_bytes
    return Storage(trial=trial, name=f"packed, {kind.short}", values=values, positions=positions, dense=dense)


def _coordinates(trial: str, kept: Masks, rest: int) -> Storage:
    """A 64-bit index beside every weight, where that is less than the dense layer."""
    values = positions = 0
    dense = rest
    for mask in kept.values():
        nonzeros = int(np.count_nonzero(mask))
        if coo_bytes(mask.shape, nonzeros) < 4 * mask.size:
            values += 4 * nonzeros
            positions += coo_bytes(mask.shape, nonzeros) - 4 * nonzeros
        else:
            dense += 4 * mask.size
    return Storage(trial=trial, name="sparse initializers, fp32", values=values, positions=positions, dense=dense)
