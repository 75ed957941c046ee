"""From times of probes to a table of costs, and how far its predictions of whole probes are off."""

import math
from collections.abc import Sequence

from lth_deploy.compiler.planning.amounts import milliseconds
from lth_deploy.config.cost_table import CostTable
from lth_deploy.config.machine_costs import Processor
from lth_deploy.measure.nonnegative_fit import fitted_rates
from lth_deploy.workflow.measure_costs.observe import Observed

_DIGITS = 4

_LEAST_ERROR = 0.05
_WORSE = 1.5
"""Models that the table was not fitted to are predicted so much worse than the probes."""

_MOST_PROBES = 0.9


def fitted_table(observed: Sequence[Observed], processor: Processor, fitted: str) -> CostTable:
    """The rates that explain the times of all probes best. fitted: the day, and the engines."""
    kernels = [one for probe in observed for one in probe.kernels]
    stock = [one for probe in observed for one in probe.stock]
    rates = [
        {name: _rounded(rate) for name, rate in fitted_rates([o.amounts for o in side], [o.ns for o in side]).items()}
        for side in (kernels, stock)
    ]
    table = CostTable(
        cpu=processor.cpu,
        isa=processor.isa,
        family=processor.family,
        instructions=list(processor.instructions),
        fitted=fitted,
        kernels=rates[0],
        stock=rates[1],
    )
    return table.model_copy(update={"error": round(_error(observed, table), 3)})


def _error(observed: Sequence[Observed], table: CostTable) -> float:
    """Share by which the ratio of most probes is off, of those that were fitted, made larger."""
    errors = sorted(abs(math.log(predicted / measured)) for predicted, measured in ratios(observed, table))
    return max(_LEAST_ERROR, _WORSE * errors[min(int(_MOST_PROBES * len(errors)), len(errors) - 1)])


def ratios(observed: Sequence[Observed], table: CostTable) -> list[tuple[float, float]]:
    """Times as fast as dense each probe is, predicted and measured."""
    found = []
    for probe in observed:
        kernels, stock = (
            sum(milliseconds(one.amounts, rates) for one in side)
            for side, rates in ((probe.kernels, table.kernels), (probe.stock, table.stock))
        )
        found.append((stock / kernels, sum(o.ns for o in probe.stock) / sum(o.ns for o in probe.kernels)))
    return found


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")
