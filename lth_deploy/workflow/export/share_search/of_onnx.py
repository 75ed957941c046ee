"""The search for an ONNX file of a user: how it is pruned, quantized and scored at one share of zeros."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from lth_deploy.compiler.artifact.value_types import ValueType
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.magnitude import LayerLoss
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.export.onnx_pruning import Pruner
from lth_deploy.workflow.export.onnx_source import OnnxSource
from lth_deploy.workflow.export.quantization import GraphQuantizer
from lth_deploy.workflow.export.share_search.inputs import digests
from lth_deploy.workflow.export.share_search.search import Candidates, find_share
from lth_deploy.workflow.export.share_search.state import SearchState

Pruned = tuple[NormalizedModel, Mapping[str, LayerLoss]]
"""A model, and what reconstruction did to each layer."""


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
    last: dict[int, Pruned] = {}

    def kept(percent: int, pruned: Pruned) -> None:
        last.clear()  # one model at a time: they may be large
        last[percent] = pruned

    found = find_share(_candidates(source, pruner), job.max_ap_drop, int8_drop, state, kept)
    share = found.percent / 100
    model, losses = last.get(found.percent) or pruner.pruned(share)
    return replace(source, job=replace(job, sparsity=share), model=model, losses=losses, search=found)


def _candidates(source: OnnxSource, pruner: Pruner) -> Candidates[Pruned]:
    floats: ValueType = source.target.float_values
    feeds = cache(lambda: source.calibration().feeds)

    def ap(pruned: Pruned, is_enough: Callable[[Scores], bool]) -> Scores | None:
        """With as much care as the export will take: it begins with none, too."""
        if source.target.values != "int8":
            return source.box_ap(pruned[0], floats)
        quantizer, care = GraphQuantizer(pruned[0], feeds(), source.target), 0
        while True:
            quantized = quantizer.quantized(care)
            found = source.box_ap(quantized.graph, floats)
            if found is None or not quantized.passed_up or is_enough(found):
                return found
            care += 1

    return Candidates(
        pruned=pruner.pruned,
        zeros=lambda pruned: _zeros(pruned[0]),
        float_ap=lambda pruned: source.box_ap(pruned[0], "fp32"),
        ap=ap,
    )


def _zeros(model: NormalizedModel) -> float:
    layers = weight_layers(model.proto)
    return sum(layer.zeros for layer in layers) / max(1, sum(layer.elements for layer in layers))
