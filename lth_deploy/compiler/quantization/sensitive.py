"""Grids and float layers that keep the outputs: measured on the whole network, one tensor or weight at a time."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.quantization.learned_ranges import Grid
from lth_deploy.compiler.quantization.plan import Int8Parts, Plan, PlannedModel, without
from lth_deploy.compiler.quantization.rounded_model import RoundedModel
from lth_deploy.progress import progress

log = logging.getLogger(__name__)

GOOD_ENOUGH = 0.02
"""Squared error of the last layers' outputs, over their variance, below which nothing more is kept in floats."""

NEGLIGIBLE = GOOD_ENOUGH / 100
"""The same of a single tensor, below which no other grid is tried."""

GAINS = ((0.02, 2.0), (0.01, 1.0), (0.0, 0.0))
"""The share of the error that must go with what leaves int8, by the care that is taken: so much, and so many times its
share of the work.

A layer takes about 3 times as long in floats. A gain below two per cent is within the chance of a search one by one.
With the most care any gain is worth any work.
"""

MOST_CARE = len(GAINS) - 1

ALONE = 0.15
"""What has by itself less than this share of the least gain is not tried: of the rest nothing gains."""

PROBED = 3
"""Images that errors are measured on."""


@dataclass(frozen=True)
class Settled:
    """The plan, the grids of its tensors, and the error of the outputs before and after; None if not comparable.

    passed_up: whether more in floats would lessen the error, for more time than it was thought to be worth.
    """

    plan: Plan
    grids: dict[str, Grid]
    before: float | None
    after: float | None
    passed_up: bool = False


@dataclass(frozen=True)
class Prices:
    """Of each weight in one inference, and how much may be paid.

    macs: multiplications. work: what takes the time of a layer. most_float: share of the multiplications that may leave
    int8. care: how much error counts beside work, see `GAINS`.
    """

    macs: Mapping[str, int]
    work: Mapping[str, float]
    most_float: float
    care: int

    def least_gain(self, weights: Collection[str]) -> float:
        """Share of the error that must go where the layers of these weights leave int8."""
        least, per_work = GAINS[self.care]
        return least + per_work * sum(self.work.get(name, 0.0) for name in weights) / max(sum(self.work.values()), 1.0)


class Sensitivity:
    """What int8 does to the outputs of a network, measured once, whatever is then paid to lessen it."""

    def __init__(
        self,
        model: PlannedModel,
        plan: Plan,
        candidates: Mapping[str, Sequence[Grid]],
        feeds: Sequence[Feeds],
    ) -> None:
        """Choose the grid of each tensor, and measure the error of each tensor and weight alone.

        Args:
            model: what is quantized.
            plan: what stays float in any case.
            candidates: grids that each tensor of the plan may get, the first of them unless another is seen to be
                better.
            feeds: inputs to measure on.

        Raises:
            ArtifactError: the model does not run on the feeds.
        """
        grids = {name: found[0] for name, found in candidates.items()}
        self._model, self._start = model, Settled(plan, grids, None, None)
        self._network: RoundedModel | None = None
        self._single_errors: dict[tuple[str, str], float] = {}
        results = [name for name in (node.output[0] for node in model.last) if name not in _reordered(model)]
        if not results or not grids:
            return
        parts = model.parts(plan)
        weights = {name: rounded_weights(model.weight(name), _outputs_axis(parts, name)) for name in parts.rounded}
        step = max(1, len(feeds) // PROBED)
        network = RoundedModel(model.model, parts.tensors, weights, results, feeds[step // 2 :: step][:PROBED])
        before = network.error(grids, weights)
        self._start = Settled(plan, grids, before, before)
        if before > GOOD_ENOUGH:
            self._single_errors = _choose(network, candidates, grids, weights)
            self._network = network

    def settle(self, prices: Prices) -> Settled:
        """Keep in floats what costs most, until the error of the outputs is small.

        prices: what it costs that a layer leaves int8.

        Raises:
            ArtifactError: the model does not run.
        """
        if self._network is None:
            return self._start
        return _keep_float(self._model, self._start, self._network, self._single_errors, prices)


def _choose(
    network: RoundedModel,
    candidates: Mapping[str, Sequence[Grid]],
    grids: dict[str, Grid],
    weights: Collection[str],
) -> dict[tuple[str, str], float]:
    """Put the best candidate of each tensor into `grids`; the error of each tensor and weight alone."""
    single_errors: dict[tuple[str, str], float] = {}
    with progress("int8 sensitivity", total=len(candidates) + len(weights)) as step:
        for name, found in candidates.items():
            grids[name], single_errors["tensor", name] = _best(network, name, found)
            step()
        for name in weights:
            single_errors["weight", name] = network.error({}, (name,))
            step()
    return single_errors


def _best(network: RoundedModel, tensor: str, candidates: Sequence[Grid]) -> tuple[Grid, float]:
    """The grid with the least error, and that; the first where it does next to nothing."""
    first, *others = dict.fromkeys(candidates)
    found = [(network.error({tensor: first}, ()), 0, first)]
    if found[0][0] > NEGLIGIBLE:
        found += [(network.error({tensor: grid}, ()), place, grid) for place, grid in enumerate(others, 1)]
    error, _, grid = min(found)
    return grid, error


def _keep_float(
    model: PlannedModel,
    start: Settled,
    network: RoundedModel,
    single_errors: Mapping[tuple[str, str], float],
    prices: Prices,
) -> Settled:
    """Take out of int8 what costs most, one by one, until the rest is good enough or too much would leave it."""
    plan, grids = start.plan, start.grids
    room = prices.most_float * sum(prices.macs.values())
    parts = model.parts(plan)
    error = _error(network, parts, grids)
    passed_up = False
    for (kind, name), cost in sorted(single_errors.items(), key=lambda entry: -entry[1]):
        if error <= GOOD_ENOUGH:
            break
        if cost < ALONE * prices.least_gain(()) * error:
            passed_up = True
            break
        gone = model.layers_of(parts, name) if kind == "tensor" else {name} & set(parts.rounded)
        if not (name in parts.tensors if kind == "tensor" else gone):
            continue
        price = sum(prices.macs.get(weight, 0) for weight in gone)
        if price > room:
            continue
        reason = f"the error of int8 there reaches the outputs ({_percent(cost)} %)"
        trial = without(plan, dict.fromkeys(gone, reason), {name: reason} if kind == "tensor" else {})
        made = model.parts(trial)
        found = _error(network, made, grids)
        if found < error * (1.0 - prices.least_gain(gone)):
            plan, parts, error, room = trial, made, found, room - price
        else:
            passed_up |= found < error
    return Settled(plan, grids, start.before, error, passed_up)


def _percent(share: float) -> str:
    """A share in per cent, with two digits that count."""
    return f"{100 * share:.2g}" if share >= 1e-6 else "0"


def _error(network: RoundedModel, parts: Int8Parts, grids: Mapping[str, Grid]) -> float:
    return network.error({name: grids[name] for name in parts.tensors if name in grids}, set(parts.rounded))


def _reordered(model: PlannedModel) -> set[str]:
    """Tensors behind a choice, such as that of proposals: a little error exchanges their rows."""
    behind: set[str] = set()
    for node in model.model.graph.node:
        if traits_of(node.op_type).picks or not behind.isdisjoint(node.input):
            behind.update(node.output)
    return behind


def rounded_weights(weights: Array, axis: int) -> Array:
    """Weights on the 255 symmetric steps of their output channel."""
    others = tuple(place for place in range(weights.ndim) if place != axis)
    scales = np.abs(weights).max(axis=others, keepdims=True) / 127
    scales = np.where(scales > 0, scales, 1)
    return np.asarray(np.clip(np.rint(weights / scales), -127, 127) * scales, np.float32)


def _outputs_axis(parts: Int8Parts, name: str) -> int:
    node = next(node for node in parts.trunk.layers if node.input[1] == name)
    if node.op_type == "Conv":
        return 0
    turned = node.op_type == "Gemm" and any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if turned else 1
