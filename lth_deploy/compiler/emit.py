"""From a dense model to the file that a target asks for."""

from dataclasses import replace

from onnx import ModelProto

from lth_deploy.compiler.pack import DENSE_FILE, LayerReport, pack
from lth_deploy.compiler.regions.build import build_regions, zeros_from
from lth_deploy.compiler.sparse_initializers import coo_bytes, to_sparse_initializers
from lth_deploy.compiler.values import round_values
from lth_deploy.target import Target


def emit(model: ModelProto, target: Target) -> tuple[ModelProto, list[LayerReport]]:
    """The model in the target's format, and what became of each layer.

    `packed`: function bodies of our domain, and regions where the target wants them. `dense`: plain ONNX. `coo`:
    ONNX's sparse initializers, last of all passes because other tools drop them. All three compute what
    `round_values` with the same values does.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    if target.format == "packed":
        packed, reports = pack(model, values=target.values, prefer=target.prefer)
        return with_regions(packed, reports, target)
    dense, reports = pack(model, values=target.values, sparse=False)
    if target.format == "dense":
        return dense, reports
    sparse = to_sparse_initializers(round_values(model, target.values))
    names = {tensor.values.name for tensor in sparse.graph.sparse_initializer}
    return sparse, [_as_coo(report, report.name in names) for report in reports]


def with_regions(
    packed: ModelProto, reports: list[LayerReport], target: Target
) -> tuple[ModelProto, list[LayerReport]]:
    """The packed model with the regions that the target asks for, and where each layer went."""
    if target.regions == "none":
        reason = "the target asks for no regions"
        return packed, [replace(report, dense_because=reason) for report in reports]
    built, plan = build_regions(packed, zeros_from(target.region_zeros))
    inside = {weight: region.name for region in plan.regions for weight in region.weights}
    return built, [
        replace(report, region=inside[report.name])
        if report.name in inside
        else replace(report, dense_because=plan.outside.get(report.name, "it is inside a loop or branch"))
        for report in reports
    ]


def _as_coo(report: LayerReport, is_sparse: bool) -> LayerReport:
    if not is_sparse:
        reason = "coordinates would be larger" if report.reason == DENSE_FILE else report.reason
        return replace(report, value_type="fp32", bytes=report.dense_bytes, reason=reason)
    size = coo_bytes(report.elements, report.elements - report.zeros)
    return replace(report, coding="coo", value_type="fp32", bytes=size, reason=None)


def dense_because(reports: list[LayerReport]) -> dict[str, str]:
    """Why layers run dense with the kernel library too, by the name of their weight; cut to what metadata takes."""
    longest = 512
    return {r.name[:longest]: r.dense_because[:longest] for r in reports if r.dense_because}
