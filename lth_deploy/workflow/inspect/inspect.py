"""The verb `inspect`: what users of pruned models ask about a file, answered without running the model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_deploy.formats import FORMATS, bound_of, choose, entropy_bound, occupancy
from lth_deploy.workflow.decoding import described_decoder
from lth_deploy.workflow.inspect.coverage import coverage_of
from lth_deploy.workflow.inspect.half_weights import half_tensors, in_own_type, zero_bytes
from lth_deploy.workflow.inspect.imported_model import as_imported
from lth_deploy.workflow.inspect.mac_counts import counted_positions
from lth_deploy.workflow.inspect.report import InspectReport, LayerRow, Sparsity

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.load import LoadedModel
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
    from lth_deploy.compiler.artifact.weight_layers import WeightLayer
    from lth_deploy.compiler.model.input_sizes import Sizes

_GROUP_NORMS = ("GroupNormalization", "InstanceNormalization")


def inspect_artifact(
    path: Path, shapes: "Sizes | None" = None, *, run: bool = False, verify: bool = False
) -> InspectReport:
    """Look into an ONNX file, or the artifact of an exported run; the model is not run.

    run: where the file does not say how often its weights are multiplied, run it on noise in a child process with
    limits, and count. Otherwise the count is what shape inference proves.
    verify: see `check_exported`.
    shapes: of inputs, by name, that multiplications and times are for; by default those that the file notes, or the
    first usual ones on which it runs.

    Raises:
        ArtifactError: the file is damaged.
        UsageError: the run was not exported, or the shapes are none of this model.
        UnexpectedGraphError: the graph is beyond what this program handles.
    """
    from lth_deploy.compiler.artifact.load import read_model
    from lth_deploy.compiler.model.unexpected_faults import graph_errors
    from lth_deploy.workflow.artifact import find_artifact
    from lth_deploy.workflow.verify.export_record import check_exported

    path = find_artifact(path)
    check_exported(path, verify=verify)
    loaded = read_model(path)
    with graph_errors(path.name):
        return _report(path, loaded, shapes or {}, run)


def _report(path: Path, loaded: "LoadedModel", shapes: "Sizes", run: bool) -> InspectReport:
    from lth_deploy.compiler.artifact.domain import DOMAIN
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, read_metadata
    from lth_deploy.compiler.artifact.region_index import find_regions
    from lth_deploy.compiler.artifact.weight_layers import weight_layers
    from lth_deploy.compiler.model.opset import standard_opset
    from lth_deploy.compiler.planning.region_borders import region_note
    from lth_deploy.measure.size import file_bytes

    model = loaded.model
    size, compressed = _in_one_piece(model) if loaded.external_bytes else file_bytes(path)
    coordinates = bool(model.graph.sparse_initializer)
    is_packed = any(node.domain == DOMAIN for node in model.graph.node)
    plain, imported = as_imported(model)
    layers = weight_layers(plain)
    metadata = read_metadata(model)
    counted = counted_positions(path, model, plain, metadata, shapes, run)
    times, notes, metadata = counted.positions, list(counted.notes), counted.metadata
    notes += imported
    if loaded.external_bytes:
        notes.append(f"{loaded.external_bytes:,} bytes of it are external data; the sizes are those of one file")
    notes += _norm_notes(model)
    notes += _float_notes(metadata)
    regions, halves = find_regions(model), half_tensors(model)
    said = metadata or ArtifactMetadata()
    rows = tuple(
        replace(
            in_own_type(_row(layer, times.get(layer.name), coordinates), halves),
            region=regions.get(layer.name),
            dense_because=said.dense_because.get(layer.name),
            predicted_ms=said.predicted.get(layer.name),
            error=said.quantization.errors.get(layer.name) if said.quantization else None,
        )
        for layer in layers
    )
    coverage = coverage_of(model, rows, metadata)
    if coverage is None:
        notes += filter(None, [region_note(model)])
    rest = max(0, size - sum(row.bytes for row in rows))  # what is folded on import may be larger than its parts
    macs = None if not times else _macs(rows)
    return InspectReport(
        path=path,
        format="coo" if coordinates else "packed" if is_packed else "dense",
        opset=standard_opset(model),
        bytes=size,
        bytes_zstd=compressed,
        dense_bytes=rest + sum(4 * row.elements for row in rows),
        coo_bytes=rest + sum(min(4 * row.elements, 12 * (row.elements - row.zeros)) for row in rows),
        entropy_bytes=rest + round(sum(row.entropy_bytes for row in rows)),
        zero_bytes=0 if coordinates else zero_bytes(plain, halves),
        prunable=_prunable(layers),
        parameters=_parameters(plain, layers),
        macs=macs,
        layers=rows,
        metadata=metadata,
        notes=tuple(notes),
        decoder=described_decoder(path, model, metadata),
        coverage=coverage,
    )


def _in_one_piece(model: "ModelProto") -> tuple[int, int]:
    """Raw and compressed bytes of the model as one file."""
    from lth_deploy.compiler.model.save import to_bytes
    from lth_deploy.measure.size import zstd_bytes

    data = to_bytes(model)
    return len(data), zstd_bytes(data)


def _row(layer: "WeightLayer", times: int | None, coordinates: bool) -> LayerRow:
    from lth_deploy.compiler.regions.match.quad_density import quad_density

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
    """The coding, with the type of its values where that is int8, or full fp16."""
    if dtype == np.int8:
        return f"{coding} int8"
    return "dense fp16" if coding == "dense" and dtype == np.float16 else coding


def _norm_notes(model: "ModelProto") -> list[str]:
    from lth_deploy.compiler.model.traverse import all_nodes

    kinds = [node.op_type for node in all_nodes(model.graph)]
    notes = []
    groups = sum(kinds.count(kind) for kind in _GROUP_NORMS)
    if groups:
        notes.append(
            f"{groups} group norms stay in the graph: their statistics depend on the image, so they cannot "
            "be folded into the convolutions; each reads its activation twice and writes it once at run time"
        )
    if "BatchNormalization" in kinds:
        count = kinds.count("BatchNormalization")
        notes.append(f"{count} batch norms are not folded into their convolutions; export from the run again")
    return notes


def _float_notes(metadata: "ArtifactMetadata | None") -> list[str]:
    if metadata is None or metadata.quantization is None:
        return []
    return [f"{name} stays float: {reason}" for name, reason in metadata.quantization.kept_float.items()]


def _macs(rows: Sequence[LayerRow]) -> Sparsity:
    return Sparsity(
        sum(row.zeros * (row.positions or 0) for row in rows),
        sum(row.elements * (row.positions or 0) for row in rows),
    )


def _prunable(layers: "Sequence[WeightLayer]") -> Sparsity:
    prunable = [layer for layer in layers if layer.obstacle is None]
    return Sparsity(sum(layer.zeros for layer in prunable), sum(layer.elements for layer in prunable))


def _parameters(model: "ModelProto", layers: "Sequence[WeightLayer]") -> Sparsity:
    """Zeros over every float constant of the main graph, layers and all others."""
    from lth_deploy.compiler.artifact.packed_weight import stored_weights
    from lth_deploy.compiler.model.tensor_types import is_float

    zeros = sum(layer.zeros for layer in layers)
    elements = sum(layer.elements for layer in layers)
    names = {layer.name for layer in layers}
    for name, stored in stored_weights(model).items():
        if name not in names:
            values = stored.weights()
            if is_float(values.dtype):
                zeros += values.size - int(np.count_nonzero(values))
                elements += values.size
    return Sparsity(zeros, elements)
