"""Which table of costs an export uses: that of the target, that of this machine, or a bundled one that fits it."""

import logging
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy.compiler.planning.amounts import rates_bf16
from lth_deploy.config.cost_table import BUNDLED, WORSE, CostTable, bundled_costs
from lth_deploy.config.machine_costs import Processor, bundled_for, costs_file, machine_costs
from lth_deploy.config.target import Target
from lth_deploy.errors import MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.in_use import kernels_in_use
from lth_deploy.measure.machine import describe_machine

if TYPE_CHECKING:
    from lth_deploy.workflow.measure_costs.quick_check import Scaled

log = logging.getLogger(__name__)

_ISA_VARIABLE = "LTH_ISA"

_BF16, _WITH_BF16 = "avx512_bf16", ("best", "avx512vnni", "amx")
"""An instruction set of processors, and the kernels that multiply in bf16 where it is; the best ones there are of them.
"""

FITS = 0.25
"""Share by which ratios of small networks may be off what they are by a table that was fitted elsewhere and scaled."""

_MEASURE = "run lth-deploy measure-costs"

_OF_UNRATED = 0.5
"""The time of operators without a rate may be wrong by so much of it: it comes from a profile."""


def this_processor() -> Processor:
    """The processor, and the instruction set that the kernels are made to use, or "best" of those that they have."""
    machine = describe_machine()
    return Processor(machine.cpu, os.environ.get(_ISA_VARIABLE) or "best", machine.family, tuple(machine.isa))


def computes_bf16() -> bool:
    """Whether the kernels have instructions for products of bf16 here; others compute them in float32.

    Raises:
        MissingLibraryError, UsageError: see `multiplies_tiles`.
    """
    return _multiply_bf16(_isa_in_use(), describe_machine().isa)


def multiplies_tiles() -> bool:
    """Whether the kernels multiply by matrix tiles here.

    Raises:
        MissingLibraryError: the kernel library was not built. UsageError: LTH_ISA cannot be followed here.
    """
    return _isa_in_use() == "amx"


def _isa_in_use() -> str | None:
    """What the kernels are, whatever LTH_ISA says; None where the library does not tell."""
    kernels = kernels_in_use(ops_library())
    return None if kernels is None else kernels.isa


def lacks_bf16(table: CostTable) -> bool:
    """Whether a table has no rates of bf16 although kernels may multiply in bf16 where it was measured.

    It says nothing about bf16 then.
    """
    known = not table.instructions or _multiply_bf16(table.isa, table.instructions)
    return known and not rates_bf16(table.kernels)


def _multiply_bf16(isa: str | None, instructions: Collection[str]) -> bool:
    """Whether kernels made for `isa`, or for the best there is, multiply in bf16."""
    return isa in _WITH_BF16 and _BF16 in instructions


def with_machine_costs(target: Target) -> Target:
    """The target with the table of this machine, where it names none of its own.

    That is the one that was measured here, or a bundled one of such a processor. Where there is neither, the bundled
    one that fits a quick measurement best, scaled to it; the log says which. Nothing is measured for a target without a
    profile, so that the same input gives the same bytes.

    Raises:
        RecipeError: the table of this machine is damaged, or of another one.
    """
    processor = this_processor()
    if "costs" in target.model_fields_set or costs_file(processor) is None:
        return target
    table = machine_costs(processor)
    if table is None:
        name = bundled_for(processor)
        table = _closest(processor, target) if name is None else bundled_costs()[name]
    return target.model_copy(update={"costs": table})


def _closest(processor: Processor, target: Target) -> CostTable:
    """The bundled table for a processor that none was measured on, scaled to it; as unsure as it then is.

    Where the target asks for bf16, tables that have rates of it are taken if any has.
    """
    tables = bundled_costs()
    if target.values == "bf16":
        tables = {name: table for name, table in tables.items() if rates_bf16(table.kernels)} or tables
    scaled = _scaled(tables) if target.profile else {}
    usual = BUNDLED if BUNDLED in tables else next(iter(tables))
    name = min(scaled, key=lambda one: _preference(scaled[one], processor), default=usual)
    if name not in scaled:
        log.warning("no cost table was measured on %s; predictions are those of '%s'; %s", processor, name, _MEASURE)
        return tables[name]
    found = scaled[name]
    log.warning(
        "no cost table was measured on %s; predictions are those of '%s', with kernels that need %.2f times as long in "
        "fp32 and %.2f times in int8, which is off by up to %.0f %% on small networks; %s",
        processor,
        name,
        found.floats,
        found.int8,
        100 * found.error,
        _MEASURE,
    )
    table = found.table
    error = min(max(table.error or 0.0, WORSE * found.error), 1.0)
    return table.model_copy(update={"error": error, "fitted": f"{table.fitted}, scaled to {processor}"})


def _preference(scaled: "Scaled", processor: Processor) -> tuple[bool, bool, float]:
    """Less of a better table: of those that fit, one of the same family, as a few networks do not say everything."""
    return scaled.error > FITS, scaled.table.family != processor.family, scaled.error


def _scaled(tables: dict[str, CostTable]) -> "dict[str, Scaled]":
    """Each table as it fits this machine; none without the kernel library."""
    from lth_deploy.workflow.measure_costs.quick_check import scaled_here

    try:
        return scaled_here(tables)
    except MissingLibraryError:
        return {}


def prediction_error(target: Target, unrated: float | None) -> float | None:
    """Share by which the predicted ratio of a whole model may be off; None where the table does not say.

    unrated: share of the dense time of operators that have no rate.
    """
    table = target.costs
    if table.error is None or unrated is None:
        return None
    return float(np.hypot(table.error, _OF_UNRATED * unrated))


def described_costs(target: Target) -> str:
    """Which table a target has, in words: a bundled one by its name, and the processor that it was measured on."""
    table = target.costs
    known = ", ".join(part for part in (table.family, _held_to(table)) if part)
    name = f"{table.cpu} ({known})" if known else table.cpu
    where = f"measured on {name}" if name else "not measured by measure-costs"
    bundled = next((f"bundled table '{one}', " for one, rates in bundled_costs().items() if _same(rates, table)), "")
    return bundled + (f"{where}, {table.fitted}" if table.fitted else where)


def _held_to(table: CostTable) -> str:
    """The instruction set that the kernels were made to use, where they did not choose it."""
    return table.isa if table.cpu and table.isa != "best" else ""


def _same(one: CostTable, other: CostTable) -> bool:
    """Whether tables have the same rates; how sure they are follows from the machine at hand."""
    return one.model_copy(update={"error": other.error}) == other
