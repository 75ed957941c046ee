"""How far tables of costs are off on the machine at hand, from a few of the probes, in about a second."""

import math
from collections.abc import Mapping
from functools import cache

from lth_deploy.config.cost_table import CostTable
from lth_deploy.workflow.measure_costs.fit import ratios
from lth_deploy.workflow.measure_costs.observe import Observed, observe
from lth_deploy.workflow.measure_costs.probes import quick_probes

_ROUNDS = 5


def errors_here(tables: Mapping[str, CostTable]) -> dict[str, float]:
    """The largest share by which the ratio of a quick probe is off, by the name of the table.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    seen = _observed()
    return {
        name: math.expm1(max(abs(math.log(predicted / measured)) for predicted, measured in ratios(seen, table)))
        for name, table in tables.items()
    }


@cache
def _observed() -> tuple[Observed, ...]:
    return tuple(observe(probe, _ROUNDS) for probe in quick_probes())
