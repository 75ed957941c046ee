"""The gates of bf16 artifacts: whether there is anything to gain, and what multiplying in bf16 costs in AP."""

import logging
from collections.abc import Iterable

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.planning.amounts import rates_bf16
from lth_deploy.compiler.planning.predict_model import regions_time
from lth_deploy.config.target import Target
from lth_deploy.element_types import BFLOAT16
from lth_deploy.errors import GateError, UsageError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.gates.lost_ap import hold_lost_ap
from lth_deploy.workflow.machine_costs import described_costs, lacks_bf16

log = logging.getLogger(__name__)

_INSTEAD = "; export with --values fp16"


def check_bf16(target: Target) -> None:
    """Refuse `values: bf16` where it cannot gain, before any work.

    Raises:
        UsageError: the file would have no regions, or the processor has no products of bf16.
    """
    if target.values != "bf16":
        return
    if target.format != "packed" or target.regions == "none":
        raise UsageError(f"values: bf16 gains only in regions, and the target asks for a file without{_INSTEAD}")
    if target.tune or rates_bf16(target.costs.kernels):
        return
    if lacks_bf16(target.costs):
        log.warning(
            "the cost table (%s) has no rates of bf16; products of bf16 are taken to be as fast as those of fp32; run "
            "lth-deploy measure-costs, or export with --tune",
            described_costs(target),
        )
    else:
        raise UsageError(
            f"values: bf16 gains nothing by the cost table ({described_costs(target)}), which has no rates of bf16"
            f"{_INSTEAD}, or run lth-deploy measure-costs where the processor has AVX512-BF16 or AMX"
        )


def hold_bf16_gain(target: Target, layers: Iterable[LayerReport]) -> None:
    """Refuse a bf16 file of which no region has a layer in bf16.

    Raises:
        GateError: there is none.
    """
    if target.values != "bf16":
        return
    of_bf16 = [layer for layer in layers if layer.value_type == BFLOAT16.short]
    if any(layer.region is not None for layer in of_bf16):
        return
    reasons = sorted({layer.dense_because for layer in of_bf16 if layer.dense_because})
    why = f" ({reasons[0]})" if reasons else ""
    raise GateError(
        f"values: bf16 gains nothing: no layer of this model is faster with it{why}{_INSTEAD}. Nothing was written"
    )


def say_bf16_gain(target: Target, model: ModelProto, feeds: Feeds) -> None:
    """Log what bf16 gains over the same weights in float32, as a warning where that is nothing.

    Nothing is said of other files, nor where the table has no rates of bf16 or of whole models. model: as it will be
    written.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    table = target.costs
    if target.values != "bf16" or not (table.predicts_whole_models and rates_bf16(table.kernels)):
        return
    bf16 = regions_time(model, feeds, table)
    floats = regions_time(model, feeds, table, in_floats=True)
    if bf16 < floats:
        log.info("predicted: the regions take %.2f ms in bf16, %.2f ms in fp32", bf16, floats)
        return
    log.warning(
        "values: bf16 gains nothing here: the regions are predicted to take %.2f ms in bf16, and %.2f ms with --values "
        "fp16, whose weights are multiplied in fp32 (%s)",
        bf16,
        floats,
        described_costs(target),
    )


def hold_bf16_ap(exact: Scores, kernels: Scores, most: float) -> None:
    """Refuse an artifact whose kernels find less than the float model does. most: see `hold_lost_ap`.

    Raises:
        GateError: more was lost.
    """
    advice = "export with --values fp16"
    hold_lost_ap(exact, kernels, most, what="bf16", gate="gates.bf16_ap_drop", advice=advice)
