"""From times of probes to a table of costs, and how far its predictions of whole probes are off."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.compiler.planning.amounts import REGION, RUN, milliseconds
from lth_deploy.config.cost_table import MOST_NANOSECONDS, WORSE, CostTable
from lth_deploy.config.machine_costs import Processor
from lth_deploy.measure.nonnegative_fit import fitted_rates, nonnegative_least_squares
from lth_deploy.workflow.measure_costs.observe import Observation, Observed

_DIGITS = 4

_LEAST_ERROR = 0.1
"""What a run finds in the caches moves a ratio by as much, and depends on what runs beside it."""

_MOST_PROBES = 0.9

_WHOLE_RUN = 12.0
"""How many times the error of a whole run counts, beside that of an operator."""

_UNKNOWNS = 3
"""Of `_Whole`."""

_INTERRUPTION = 5e5
"""Nanoseconds: other work that takes the processor away keeps it for longer."""

_PASSES = 4
"""Without the operators that were interrupted rates are others, by which some more may be found."""


@dataclass(frozen=True)
class _Run:
    """One side of a probe: its operators, nanoseconds of the whole, and places of operators that were interrupted."""

    operators: Sequence[Observation]
    ns: float
    interrupted: frozenset[int] = frozenset()

    @property
    def sum(self) -> float:
        """Nanoseconds of all operators."""
        return sum(one.ns for one in self.operators)

    @property
    def undisturbed(self) -> list[Observation]:
        """The operators whose times mean something."""
        return [one for place, one in enumerate(self.operators) if place not in self.interrupted]


@dataclass(frozen=True)
class _Whole:
    """What a whole run takes: `start`, and of each operator `factor` times its own time less `event`.

    start: nanoseconds before the first and behind the last operator. factor: the least times of operators do not fall
    into one run. event: nanoseconds that an operator takes longer where it is timed.
    """

    start: float
    factor: float
    event: float

    def of(self, ns: float) -> float:
        """What an operator adds to a run that takes so many nanoseconds where it is timed."""
        return max(self.factor * ns - self.event, 0.0)


def fitted_table(observed: Sequence[Observed], processor: Processor, fitted: str) -> CostTable:
    """The rates that explain the times of all probes best. fitted: the day, and the engines."""
    inside, kernels = _fitted([_Run(probe.kernels, probe.kernels_ns) for probe in observed])
    dense, stock = _fitted([_Run(probe.stock, probe.stock_ns) for probe in observed])
    table = CostTable(
        cpu=processor.cpu,
        isa=processor.isa,
        family=processor.family,
        instructions=list(processor.instructions),
        fitted=fitted,
        tiles_l2=next((probe.tiles_l2 for probe in observed if probe.tiles_l2 is not None), None),
        kernels=inside | {REGION: _rounded(max(kernels.start - stock.start, 0.0))},
        stock=dense | {RUN: _rounded(stock.start)},
    )
    return table.model_copy(update={"error": round(_error(observed, table), 3)})


def _fitted(runs: Sequence[_Run]) -> tuple[dict[str, float], _Whole]:
    """The rates of one side, and how whole runs follow from its operators, of which interrupted ones are left out."""
    for _ in range(_PASSES):
        whole = _whole(runs)
        rates = _rates(runs, whole)
        fewer = [replace(run, interrupted=_interrupted(run, rates)) for run in runs]
        if fewer == runs:
            break
        runs = fewer
    return rates, whole


def _interrupted(run: _Run, rates: Mapping[str, float]) -> frozenset[int]:
    """Places of operators that other work interrupted in every round, so that the least time is not theirs.

    They take more than twice what their amounts explain, and the rest is missing in the processor time of the whole
    run, where an operator that is slow by itself takes it too. What one operator accounts for explains no other.
    """
    missing = run.sum - run.ns
    found = set(run.interrupted)
    explained = [1e6 * milliseconds(one.amounts, rates) for one in run.operators]
    beyond = {place: one.ns - explained[place] for place, one in enumerate(run.operators)}
    for place, more in sorted(beyond.items(), key=lambda one: -one[1]):
        if more > max(explained[place], _INTERRUPTION) and missing > 0.5 * more:
            found.add(place)
            missing -= more
    return frozenset(found)


def _whole(runs: Sequence[_Run]) -> _Whole:
    """How whole runs follow from the times of their operators; of interrupted ones where there are no others."""
    usual = [run for run in runs if not run.interrupted]
    runs = usual if len(usual) >= _UNKNOWNS else runs
    sums, whole = np.array([run.sum for run in runs]), np.array([run.ns for run in runs])
    rows = np.stack([np.ones(len(runs)), sums, [-float(len(run.operators)) for run in runs]], axis=1) / whole[:, None]
    sizes = np.abs(rows).max(axis=0)
    start, more, event = (nonnegative_least_squares(rows / sizes, (whole - sums) / whole) / sizes).tolist()
    return _Whole(start, 1.0 + more, event)


def _rates(runs: Sequence[_Run], whole: _Whole) -> dict[str, float]:
    """Rates of operators, with which whole runs come out right as well: relative errors of operators are not even."""
    operators = [one for run in runs for one in run.undisturbed]
    together = [(_sum(one.amounts for one in run.operators), max(run.ns - whole.start, 0.0)) for run in runs]
    amounts = [one.amounts for one in operators] + [one for one, _ in together]
    times = [whole.of(one.ns) for one in operators] + [ns for _, ns in together]
    found = fitted_rates(amounts, times, [1.0] * len(operators) + [_WHOLE_RUN] * len(runs))
    return {name: _rounded(rate) for name, rate in found.items()}


def _sum(amounts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for one in amounts:
        for name, amount in one.items():
            total[name] += amount
    return total


def _error(observed: Sequence[Observed], table: CostTable) -> float:
    """Share by which the ratio of most probes is off, of those that were fitted, made larger."""
    errors = sorted(abs(math.log(predicted / measured)) for predicted, measured in ratios(observed, table))
    return max(_LEAST_ERROR, WORSE * errors[min(int(_MOST_PROBES * len(errors)), len(errors) - 1)])


def ratios(observed: Sequence[Observed], table: CostTable) -> list[tuple[float, float]]:
    """Times as fast as dense each probe is, predicted and measured."""
    found = []
    for probe in observed:
        start = milliseconds({RUN: 1.0}, table.stock)
        kernels = start + milliseconds({REGION: 1.0}, table.kernels)
        kernels += sum(milliseconds(one.amounts, table.kernels) for one in probe.kernels)
        stock = start + sum(milliseconds(one.amounts, table.stock) for one in probe.stock)
        found.append((stock / kernels, probe.stock_ns / probe.kernels_ns))
    return found


def _rounded(rate: float) -> float:
    """Digits that mean something; runs that other work made long give no impossible rate."""
    return min(float(f"{rate:.{_DIGITS}g}"), MOST_NANOSECONDS)
