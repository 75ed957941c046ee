"""Tables of costs brought to the machine at hand by a few of the probes, in about a second.

Processors differ most in how fast the kernels are beside the stock runtime, and in that for float32 and int8 apart. So
the rates of the kernels are scaled, those of int8 by themselves, until the ratios of the small networks are right on
average; how far they are off then says how well a table fits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from lth_deploy.compiler.planning.amounts import is_int8
from lth_deploy.config.cost_table import MOST_NANOSECONDS, CostTable
from lth_deploy.workflow.measure_costs.fit import ratios
from lth_deploy.workflow.measure_costs.observe import Observed, observe
from lth_deploy.workflow.measure_costs.probes import quick_probes

_ROUNDS = 5

_PASSES = 6
"""Some rates belong to networks of both types, so that one scale moves what the other has set right."""


@dataclass(frozen=True)
class Scaled:
    """A table whose kernels take `floats` and `int8` times as long as where it was fitted.

    error: the largest share by which the ratio of a quick probe is off then.
    """

    table: CostTable
    floats: float
    int8: float
    error: float


def scaled_here(tables: Mapping[str, CostTable]) -> dict[str, Scaled]:
    """Each table, by its name, as it fits this machine best.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    return {name: scaled_to(table, *_observed()) for name, table in tables.items()}


def scaled_to(table: CostTable, floats: Sequence[Observed], int8: Sequence[Observed]) -> Scaled:
    """A table as it fits networks in float32 and in int8."""
    scales, found = [1.0, 1.0], table
    for _ in range(_PASSES):
        for kind, seen in enumerate((floats, int8)):
            scales[kind] *= math.exp(sum(map(math.log, _errors(seen, found))) / len(seen))
            found = _scaled(table, *scales)
    error = max(abs(math.log(one)) for one in _errors([*floats, *int8], found))
    return Scaled(found, scales[0], scales[1], math.expm1(error))


def _errors(seen: Sequence[Observed], table: CostTable) -> list[float]:
    """Of each network the predicted ratio over the measured one."""
    return [predicted / measured for predicted, measured in ratios(seen, table)]


def _scaled(table: CostTable, floats: float, int8: float) -> CostTable:
    kernels = {
        name: min(rate * (int8 if is_int8(name) else floats), MOST_NANOSECONDS) for name, rate in table.kernels.items()
    }
    return table.model_copy(update={"kernels": kernels})


@cache
def _observed() -> tuple[list[Observed], list[Observed]]:
    seen = [(probe.quantized, observe(probe, _ROUNDS)) for probe in quick_probes()]
    floats, int8 = ([one for quantized, one in seen if quantized == kind] for kind in (False, True))
    return floats, int8
