"""The table of `inspect`: one row for each weight layer of a file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
from lth_deploy.compiler.artifact.region_index import find_regions
from lth_deploy.compiler.artifact.weight_layers import WeightLayer
from lth_deploy.compiler.regions.match.quad_density import quad_density
from lth_deploy.formats import FORMATS, bound_of, choose, entropy_bound, occupancy
from lth_deploy.formats.base import BF16
from lth_deploy.workflow.inspect.half_weights import half_tensors, in_own_type
from lth_deploy.workflow.inspect.imported_model import OpenedFile
from lth_deploy.workflow.inspect.report import LayerRow


def layer_rows(
    file: OpenedFile, positions: Mapping[str, int], metadata: ArtifactMetadata | None
) -> tuple[LayerRow, ...]:
    """A row for each layer. positions: name of a weight to its multiplications, where they are known."""
    regions, halves = find_regions(file.model), half_tensors(file.model)
    said = metadata or ArtifactMetadata()
    coordinates = bool(file.model.graph.sparse_initializer)
    return tuple(
        replace(
            in_own_type(_row(layer, positions.get(layer.name), coordinates), halves),
            region=regions.get(layer.name),
            dense_because=said.dense_because.get(layer.name),
            predicted_ms=said.predicted.get(layer.name),
            error=said.quantization.errors.get(layer.name) if said.quantization else None,
        )
        for layer in file.layers
    )


def _row(layer: WeightLayer, times: int | None, coordinates: bool) -> LayerRow:
    weights = layer.stored.weights()
    outputs_first = weights.swapaxes(0, 1) if layer.op_type == "ConvTranspose" else weights
    coding, size = layer.stored.coding, layer.stored.nbytes
    reason = layer.obstacle if coding == "dense" else None
    if coding == "dense" and reason is None and coordinates and 12 * (layer.elements - layer.zeros) < size:
        coding, size = "coo", 12 * (layer.elements - layer.zeros)
    elif coding == "dense" and reason is None:
        best = choose(weights)
        reason = f"{layer.zeros / layer.elements:.1%} zeros: no coding is smaller"
        if best != "dense":
            would = FORMATS.get(best).size(occupancy(weights, FORMATS.get(best).block))
            reason = f"stored in full; {best} would take {would:,} bytes"
    return LayerRow(
        name=layer.name,
        op_type=layer.op_type,
        shape=layer.shape,
        elements=layer.elements,
        zeros=layer.zeros,
        uses=layer.uses,
        coding=_coding(coding, weights.dtype),
        bytes=size,
        entropy_bytes=entropy_bound(weights, block=FORMATS.get(layer.stored.coding).block)
        if layer.obstacle is None
        else bound_of(layer.elements, layer.elements, weights.dtype.itemsize),
        positions=times,
        reason=reason,
        empty_quads=1.0 - quad_density(outputs_first) if layer.stored.int8 else None,
    )


def _coding(coding: str, dtype: np.dtype[Any]) -> str:
    """The coding, with the type of its values where that is int8, bf16, or full fp16."""
    if dtype == np.int8:
        return f"{coding} int8"
    if dtype == BF16:
        return f"{coding} bf16"
    return "dense fp16" if coding == "dense" and dtype == np.float16 else coding
