"""From a dense model to the file that a target asks for."""

from dataclasses import replace

from onnx import ModelProto

from lth_deploy.compiler.pack import DENSE_FILE, LayerReport, pack
from lth_deploy.compiler.sparse_initializers import coo_bytes, to_sparse_initializers
from lth_deploy.compiler.values import round_values
from lth_deploy.target import Target


def emit(model: ModelProto, target: Target) -> tuple[ModelProto, list[LayerReport]]:
    """The model in the target's format, and what became of each layer.

    `packed`: function bodies of our domain. `dense`: plain ONNX. `coo`: ONNX's sparse initializers, last of
    all passes because other tools drop them. All three compute what `round_values` with the same values does.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    if target.format == "packed":
        return pack(model, values=target.values, prefer=target.prefer)
    dense, reports = pack(model, values=target.values, sparse=False)
    if target.format == "dense":
        return dense, reports
    sparse = to_sparse_initializers(round_values(model, target.values))
    names = {tensor.values.name for tensor in sparse.graph.sparse_initializer}
    return sparse, [_as_coo(report, report.name in names) for report in reports]


def _as_coo(report: LayerReport, is_sparse: bool) -> LayerReport:
    if not is_sparse:
        reason = "coordinates would be larger" if report.reason == DENSE_FILE else report.reason
        return replace(report, value_type="fp32", bytes=report.dense_bytes, reason=reason)
    size = coo_bytes(report.elements, report.elements - report.zeros)
    return replace(report, coding="coo", value_type="fp32", bytes=size, reason=None)
