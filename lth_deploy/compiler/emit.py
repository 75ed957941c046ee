"""From a dense model to the file that a target asks for."""

from collections.abc import Callable
from dataclasses import replace

from onnx import ModelProto

from lth_deploy.compiler.artifact.pack import DENSE_FILE, LayerReport, pack
from lth_deploy.compiler.artifact.roi_align import fast_roi_align
from lth_deploy.compiler.artifact.sparse_initializers import coo_bytes, to_sparse_initializers
from lth_deploy.compiler.artifact.value_types import round_values
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.planning.select_regions import Facts, plan_regions
from lth_deploy.config.target import Target

Emitted = tuple[ModelProto, list[LayerReport]]
"""A model in the format of a target, and what became of each layer."""


def emit(model: NormalizedModel, target: Target, facts: Facts | None = None) -> Emitted:
    """The model in the target's format, and what became of each layer; `facts` help to choose regions.

    `packed`: function bodies of our domain, and regions where the target wants them. `dense`: plain ONNX. `coo`:
    ONNX's sparse initializers, last of all passes because other tools drop them. All three compute what
    `round_values` with the same values does.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    return emitter(model, target)(facts or Facts())


def emitter(model: NormalizedModel, target: Target) -> Callable[[Facts], Emitted]:
    """`emit` for any facts; the weights are packed once.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    if target.format == "packed":
        packed, reports = pack(model, values=target.float_values, prefer=target.prefer)
        return lambda facts: with_regions(packed, reports, target, facts)
    dense, reports = pack(model, values=target.float_values, sparse=False)
    if target.format == "dense":
        return lambda _: (dense, reports)
    sparse = to_sparse_initializers(round_values(model, target.float_values))
    names = {tensor.values.name for tensor in sparse.graph.sparse_initializer}
    return lambda _: (sparse, [_as_coo(report, report.name in names) for report in reports])


def with_regions(packed: ModelProto, reports: list[LayerReport], target: Target, facts: Facts) -> Emitted:
    """The packed model with the regions that the target asks for, and where each layer went."""
    if target.regions == "none":
        reason = "the target asks for no regions"
        return packed, [replace(report, dense_because=reason) for report in reports]
    built, plan, costs = plan_regions(packed, target, facts)
    inside = {weight: region.name for region in plan.regions for weight in region.weights}
    rows = []
    for report in reports:
        cost = costs.get(report.name)
        if cost is not None:
            report = replace(report, sparse_ms=cost.sparse, dense_ms=cost.dense)
        reason = plan.outside.get(report.name, "it is inside a loop or branch")
        region = inside.get(report.name)
        rows.append(replace(report, region=region, dense_because=None if region else reason))
    return fast_roi_align(built), rows


def _as_coo(report: LayerReport, is_sparse: bool) -> LayerReport:
    if not is_sparse:
        reason = "coordinates would be larger" if report.reason == DENSE_FILE else report.reason
        return replace(report, value_type="fp32", bytes=report.dense_bytes, reason=reason)
    size = coo_bytes(report.elements, report.elements - report.zeros)
    return replace(report, coding="coo", value_type="fp32", bytes=size, reason=None)
