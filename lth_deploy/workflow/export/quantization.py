"""Quantization as the export verbs do it: calibration images in, a QDQ graph and what its metadata say out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import Quantization
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.quantization import quantize_ticket
from lth_deploy.compiler.quantization.learned_ranges import Learned
from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.config.target import Target
from lth_deploy.measure.machine import describe_machine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizedGraph:
    """A quantized graph and what its metadata say of it.

    passed_up: whether more layers in float would lessen the error of the outputs.
    """

    graph: NormalizedModel
    quantization: Quantization
    passed_up: bool = False


def quantize(
    graph: NormalizedModel,
    feeds: Sequence[Feeds],
    target: Target,
    learned: Learned | None = None,
    *,
    care: int = MOST_CARE,
) -> QuantizedGraph:
    """Quantize a graph on the inputs of calibration images, or on the grids that fine-tuning has `learned`.

    care: how much the error counts beside the time that it costs to lessen it, see `sensitive.GAINS`.

    Raises:
        DataError, UsageError, ArtifactError, MissingExtraError: see `lth_deploy.compiler.quantization.quantize_ticket`.
    """
    return GraphQuantizer(graph, feeds, target, learned).quantized(care)


class GraphQuantizer:
    """A graph that is quantized with one care after the other; what does not depend on care is measured once."""

    def __init__(
        self, graph: NormalizedModel, feeds: Sequence[Feeds], target: Target, learned: Learned | None = None
    ) -> None:
        """Check what is given; see `quantize`."""
        if not describe_machine().exact_u8s8:
            log.warning(
                "this CPU has no VNNI: ONNX Runtime's own int8 kernels may saturate here, lth_deploy's do not; gates "
                "that run the stock runtime judge its saturated sums"
            )
        arrays = [{name: np.asarray(value) for name, value in feed.items()} for feed in feeds]
        self._method = "learned" if learned else target.calibration.method
        self._quantizer = quantize_ticket.Quantizer(graph, arrays, target, learned)

    def quantized(self, care: int = MOST_CARE) -> QuantizedGraph:
        """The graph with so much care; see `quantize`."""
        quantized = self._quantizer.quantized(care)
        errors = {name[:512]: round(error, 6) for name, error in quantized.errors.items()}
        kept = {name[:512]: reason for name, reason in quantized.kept.items()}
        about = Quantization(method=self._method, images=quantized.images, errors=errors, kept_float=kept)
        return QuantizedGraph(quantized.model, about, quantized.passed_up)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, from all over the sequence."""
    return list(items[:: max(1, len(items) // count)][:count])
