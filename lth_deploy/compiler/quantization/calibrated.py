"""Calibration: from images to a grid for each tensor that becomes int8, and the layers that had better not."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.grouped_reasons import counted_reasons
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.planning.mac_count import positions
from lth_deploy.compiler.quantization.activation_samples import sampled
from lth_deploy.compiler.quantization.elementwise import function_of
from lth_deploy.compiler.quantization.learned_ranges import Grid
from lth_deploy.compiler.quantization.plan import Plan, PlannedModel
from lth_deploy.compiler.quantization.ranges import best_range, whole_range
from lth_deploy.compiler.quantization.selection import Selection
from lth_deploy.compiler.quantization.sensitive import MOST_CARE, Prices, Sensitivity
from lth_deploy.config.target import Target
from lth_deploy.progress import progress

log = logging.getLogger(__name__)


VALUE_WORK = 20.0
"""Multiplications of a layer in floats that take as long as to read or write one of its values."""


@dataclass(frozen=True)
class Calibrated:
    """selection: what is quantized, on which grids. kept: weights that stay float, and why.

    passed_up: see `Settled`.
    """

    selection: Selection
    kept: dict[str, str]
    passed_up: bool


class Calibrator:
    """A model whose ranges and whose sensitivity to int8 are measured, once for any care."""

    def __init__(self, model: NormalizedModel, kept: Mapping[str, str], feeds: Sequence[Feeds]) -> None:
        """Find the grid of each tensor on the images, and what each costs the outputs.

        Args:
            model: in floats, with named nodes.
            kept: weights that stay float in any case, and why.
            feeds: inputs of the calibration images.

        Raises:
            ArtifactError: the model does not run on the feeds.
        """
        self._planned, plan = PlannedModel(model), Plan(kept)
        self._macs = _macs(self._planned, feeds[0])
        self._work = work_of(self._planned, self._macs)
        grids = _grids(self._planned, self._planned.parts(plan).tensors, feeds)
        self._sensitivity = Sensitivity(self._planned, plan, grids, feeds)

    def calibrated(self, target: Target, *, care: int = MOST_CARE) -> Calibrated:
        """Keep in floats what costs the outputs most.

        Args:
            target: bounds what leaves int8.
            care: how much the error counts beside the time that it costs to lessen it, see `sensitive.GAINS`.

        Raises:
            ArtifactError: the model does not run.
        """
        settled = self._sensitivity.settle(Prices(self._macs, self._work, target.float_macs, care))
        if settled.before is not None and settled.after is not None:
            log.info("int8 changes the last layers' outputs by %.2g of their variance", settled.after)
            if settled.after < settled.before:
                log.info("with all layers in int8 it would be %.2g", settled.before)
        parts = self._planned.parts(settled.plan)
        _report(settled.plan.weights, parts.rounded, self._macs)
        grids = {name: settled.grids[owner] for name, owner in parts.owners.items()}
        selection = Selection.of(parts.trunk, parts.owners, grids)
        return Calibrated(selection, dict(settled.plan.weights), settled.passed_up)


def _report(kept: Mapping[str, str], rounded: Sequence[str], macs: Mapping[str, int]) -> None:
    """Log the share of the multiplications in int8, and the names of the float layers by reason."""
    whole = sum(macs.values())
    share = sum(macs.get(name, 0) for name in rounded) / whole if whole else 0.0
    log.info("%d layers with %.0f %% of the multiplications are int8", len(rounded), 100 * share)
    by_reason: dict[str, list[str]] = {}
    for name, reason in kept.items():
        by_reason.setdefault(next(iter(counted_reasons({name: reason}))), []).append(name)
    for reason, names in by_reason.items():
        log.info("%d layers stay float, as %s: %s", len(names), reason, ", ".join(names))


def _grids(model: PlannedModel, tensors: Sequence[str], feeds: Sequence[Feeds]) -> dict[str, list[Grid]]:
    """Candidates for the grid of each tensor: that of least error, and that of all that was seen."""
    opset = standard_opset(model.model)
    samples = sampled(model.model, tensors, feeds)
    grids = {}
    with progress("ranges of activations", total=len(samples)) as step:
        for name, sample in samples.items():
            function = function_of(model.readers.elementwise(name), model.readers.scalars, opset)
            grids[name] = [best_range(sample, function), whole_range(sample)]
            step()
    return grids


def _macs(model: PlannedModel, feed: Feeds) -> dict[str, int]:
    times = positions(model.normalized, feed)
    weights = {node.input[1] for node in model.whole.layers}
    return {name: times.get(name, 0) * model.weight(name).size for name in weights}


def work_of(model: PlannedModel, macs: Mapping[str, int]) -> dict[str, float]:
    """Of each weight: multiplications, and values that its layers read and write as so many of them."""
    layers = {node.input[1]: node for node in model.whole.layers}
    found = {}
    for name, count in macs.items():
        shape, node = model.weight(name).shape, layers[name]
        strides = attribute(node, "strides", [1, 1]) if node.op_type == "Conv" else [1]
        read = shape[1] * attribute(node, "group", 1) * math.prod(strides)
        found[name] = count + VALUE_WORK * (read + shape[0]) * count / max(math.prod(shape), 1)
    return found
