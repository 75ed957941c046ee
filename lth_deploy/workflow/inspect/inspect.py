"""The verb `inspect`: what users of pruned models ask about a file, answered without running the model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.load import read_model
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import WeightLayer
from lth_deploy.compiler.model.input_sizes import Sizes
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.model.tensor_types import is_float
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.compiler.model.unexpected_faults import graph_errors
from lth_deploy.compiler.planning.region_borders import region_note
from lth_deploy.measure.size import file_bytes, zstd_bytes
from lth_deploy.workflow.artifact import find_artifact
from lth_deploy.workflow.decoding import described_decoder
from lth_deploy.workflow.inspect.coverage import coverage_of
from lth_deploy.workflow.inspect.half_weights import half_tensors, zero_bytes
from lth_deploy.workflow.inspect.imported_model import OpenedFile, opened
from lth_deploy.workflow.inspect.layer_rows import layer_rows
from lth_deploy.workflow.inspect.mac_counts import counted_positions
from lth_deploy.workflow.inspect.report import InspectReport, LayerRow, Sparsity
from lth_deploy.workflow.verify.export_record import check_exported

_GROUP_NORMS = ("GroupNormalization", "InstanceNormalization")


def inspect_artifact(
    path: Path, shapes: Sizes | None = None, *, run: bool = False, verify: bool = False
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
    path = find_artifact(path)
    check_exported(path, verify=verify)
    loaded = read_model(path)
    with graph_errors(path.name):
        return _report(opened(path, loaded), shapes or {}, run)


def _report(file: OpenedFile, shapes: Sizes, run: bool) -> InspectReport:
    model, layers = file.model, file.layers
    size, compressed = _in_one_piece(model) if file.external_bytes else file_bytes(file.path)
    counted = counted_positions(file, shapes, run)
    rows = layer_rows(file, counted.positions, counted.metadata)
    coverage = coverage_of(model, rows, counted.metadata)
    cuts = [] if coverage is not None else filter(None, [region_note(model)])
    rest = max(0, size - sum(row.bytes for row in rows))  # what is folded on import may be larger than its parts
    return InspectReport(
        path=file.path,
        format=_format(model),
        opset=standard_opset(model),
        bytes=size,
        bytes_zstd=compressed,
        dense_bytes=rest + sum(4 * row.elements for row in rows),
        coo_bytes=rest + sum(min(4 * row.elements, 12 * (row.elements - row.zeros)) for row in rows),
        entropy_bytes=rest + round(sum(row.entropy_bytes for row in rows)),
        zero_bytes=0 if model.graph.sparse_initializer else zero_bytes(file.plain, half_tensors(model)),
        prunable=_prunable(layers),
        parameters=_parameters(file.plain, layers),
        macs=_macs(rows) if counted.positions else None,
        layers=rows,
        metadata=counted.metadata,
        notes=(*counted.notes, *_notes(file), *cuts),
        decoder=described_decoder(file.path, model, counted.metadata),
        coverage=coverage,
    )


def _format(model: ModelProto) -> str:
    if model.graph.sparse_initializer:
        return "coo"
    return "packed" if any(node.domain == DOMAIN for node in model.graph.node) else "dense"


def _notes(file: OpenedFile) -> list[str]:
    """What is to be said of import, external data, norms and layers that stay float."""
    external = f"{file.external_bytes:,} bytes of it are external data; the sizes are those of one file"
    notes = [*file.notes, *([external] if file.external_bytes else [])]
    return [*notes, *_norm_notes(file.model), *_float_notes(file.metadata)]


def _in_one_piece(model: ModelProto) -> tuple[int, int]:
    """Raw and compressed bytes of the model as one file."""
    data = to_bytes(model)
    return len(data), zstd_bytes(data)


def _norm_notes(model: ModelProto) -> list[str]:
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


def _float_notes(metadata: ArtifactMetadata | None) -> list[str]:
    if metadata is None or metadata.quantization is None:
        return []
    return [f"{name} stays float: {reason}" for name, reason in metadata.quantization.kept_float.items()]


def _macs(rows: Sequence[LayerRow]) -> Sparsity:
    return Sparsity(
        sum(row.zeros * (row.positions or 0) for row in rows),
        sum(row.elements * (row.positions or 0) for row in rows),
    )


def _prunable(layers: Sequence[WeightLayer]) -> Sparsity:
    prunable = [layer for layer in layers if layer.obstacle is None]
    return Sparsity(sum(layer.zeros for layer in prunable), sum(layer.elements for layer in prunable))


def _parameters(model: ModelProto, layers: Sequence[WeightLayer]) -> Sparsity:
    """Zeros over every float constant of the main graph, layers and all others."""
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
