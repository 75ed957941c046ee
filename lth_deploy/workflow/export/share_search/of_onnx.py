"""The search for an ONNX file of a user: how it is pruned, quantized and scored at one share of zeros."""

from dataclasses import replace
from pathlib import Path

from lth_deploy.compiler.artifact.value_types import ValueType
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.workflow.export.onnx_pruning import Pruner
from lth_deploy.workflow.export.onnx_source import OnnxSource
from lth_deploy.workflow.export.quantization import quantize
from lth_deploy.workflow.export.share_search.inputs import digests
from lth_deploy.workflow.export.share_search.search import Candidates, find_share
from lth_deploy.workflow.export.share_search.state import SearchState


def searched(source: OnnxSource, folder: Path) -> OnnxSource:
    """A source whose job names a bound and no share of zeros, pruned to the largest share that keeps its AP.

    folder: of what was measured before.

    Raises:
        DataError: the dense model has no AP, or images cannot be read. GateError: no share keeps it.
    """
    job, target = source.job, source.target
    assert job.max_ap_drop is not None
    pruner = Pruner(source.imported.normalized, job, source.decoder)
    state = SearchState(folder, digests(source.imported.original, job, target))
    int8_drop = target.gates.int8_ap_drop if target.values == "int8" else None
    found = find_share(_candidates(source, pruner), job.max_ap_drop, int8_drop, state)
    share = found.percent / 100
    model, losses = pruner.pruned(share)
    return replace(source, job=replace(job, sparsity=share), model=model, losses=losses, search=found)


def _candidates(source: OnnxSource, pruner: Pruner) -> Candidates[NormalizedModel]:
    target = source.target
    floats: ValueType = target.float_values

    def ap(model: NormalizedModel) -> float | None:
        if target.values == "int8":
            model = quantize(model, source.calibration().feeds, target).graph
        return source.box_ap(model, floats)

    return Candidates(
        pruned=lambda share: pruner.pruned(share)[0],
        zeros=_zeros,
        float_ap=lambda model: source.box_ap(model, "fp32"),
        ap=ap,
    )


def _zeros(model: NormalizedModel) -> float:
    layers = weight_layers(model.proto)
    return sum(layer.zeros for layer in layers) / max(1, sum(layer.elements for layer in layers))
