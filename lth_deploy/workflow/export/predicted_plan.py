"""Which regions a file gets by prediction alone: those that are faster by the table of costs, all they do counted."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import Measured
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.emit import Emitted
from lth_deploy.compiler.planning.mac_count import Uses
from lth_deploy.compiler.planning.predict_model import DenseRun, ModelPrediction, Pair, predict_model
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.config.target import Target

log = logging.getLogger(__name__)

WORTH = 0.95
"""Most time over dense that a region may be predicted to take: predictions are some per cent off."""

_LEAST_MS, _MOST_NAMED = 0.01, 16
"""Operators whose time is given."""


@dataclass(frozen=True)
class Chosen:
    """An emitted model and what became of each layer.

    measured: the times that decided; None when none were measured. unpredicted_ms: predicted milliseconds of all that
    is no predicted layer, with the kernel library and without; None without regions, or when no profile was made.
    outside_ms: of the latter those of each operator. unrated: share of the dense time of operators without a rate; None
    where the table has rates of layers alone. whole: predicted milliseconds of all; None where they are not predicted.
    """

    model: ModelProto
    layers: list[LayerReport]
    measured: Measured | None
    unpredicted_ms: tuple[float, float] | None = None
    outside_ms: Mapping[str, float] = field(default_factory=dict)
    unrated: float | None = None
    whole: Pair | None = None


def predicted_faster(
    chosen: Chosen, emitted: Callable[[Facts], Emitted], run: DenseRun, used: Uses, feeds: Feeds, target: Target
) -> Chosen:
    """The plan whose regions are each predicted to be faster than dense, with its predicted times.

    Regions that lose are given up and the other layers are cut into regions anew, until none loses: each round leaves
    out at least one layer more. chosen: the plan to begin with. emitted: makes another one. run: of the dense model.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    slower: dict[str, str] = {}
    while True:
        found = predict_model(chosen.model, run, feeds, target.costs)
        lost = {name: pair for name, pair in found.regions.items() if pair.kernels > WORTH * pair.dense}
        reasons = {layer.name: _reason(lost[layer.region]) for layer in chosen.layers if layer.region in lost}
        if not reasons:
            return _with_times(chosen, found)
        slower |= reasons
        facts = Facts(used.positions, slower, batches=used.batches)
        chosen = Chosen(*emitted(facts), None)


def predicted(chosen: Chosen, run: DenseRun, feeds: Feeds, target: Target) -> Chosen:
    """The same plan with its predicted times.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    return _with_times(chosen, predict_model(chosen.model, run, feeds, target.costs))


def _reason(pair: Pair) -> str:
    return f"predicted for its region: {pair.kernels:.2f} ms with kernels, {pair.dense:.2f} ms dense"


def _with_times(chosen: Chosen, found: ModelPrediction) -> Chosen:
    rest, layers = found.rest, _dense_outside(chosen.layers, found.layers)
    whole = sum(found.regions.values(), rest + Pair(layers, layers))
    log.info("predicted: %.2f ms with kernels, %.2f ms dense", whole.kernels, whole.dense)
    named = sorted(
        ((pair.dense, name) for name, pair in found.outside.items() if pair.dense >= _LEAST_MS), reverse=True
    )
    return replace(
        chosen,
        layers=_spread(chosen.layers, found),
        unpredicted_ms=(rest.kernels, rest.dense),
        outside_ms={name: ms for ms, name in named[:_MOST_NAMED]},
        unrated=found.unrated,
        whole=whole,
    )


def _dense_outside(layers: Sequence[LayerReport], dense: Mapping[str, float]) -> float:
    return sum(dense.get(layer.name, 0.0) for layer in layers if layer.region is None)


def _spread(layers: Sequence[LayerReport], found: ModelPrediction) -> list[LayerReport]:
    """The time of each region spread over its layers, in proportion to what they take by themselves."""
    sparse: dict[str, float] = defaultdict(float)
    dense: dict[str, float] = defaultdict(float)
    for layer in layers:
        if layer.region is not None:
            sparse[layer.region] += layer.sparse_ms or 0.0
            dense[layer.region] += found.layers.get(layer.name, 0.0)
    rows = []
    for layer in layers:
        by_itself = found.layers.get(layer.name)
        pair = None if layer.region is None else found.regions.get(layer.region)
        if layer.region is None or pair is None:
            sparse_ms = by_itself if layer.sparse_ms is None else layer.sparse_ms
            rows.append(layer if by_itself is None else replace(layer, sparse_ms=sparse_ms, dense_ms=by_itself))
        else:
            own = pair.kernels * (layer.sparse_ms or 0.0) / max(sparse[layer.region], 1e-9)
            stock = pair.dense * (by_itself or 0.0) / max(dense[layer.region], 1e-9)
            rows.append(replace(layer, sparse_ms=own, dense_ms=stock))
    return rows
