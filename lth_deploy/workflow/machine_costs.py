"""Which table of costs an export uses: that of the target, that of this machine, or the bundled one."""

import os

import numpy as np

from lth_deploy.config.machine_costs import machine_costs
from lth_deploy.config.target import Target
from lth_deploy.measure.machine import describe_machine

_ISA_VARIABLE = "LTH_ISA"

_OF_UNRATED = 0.5
"""The time of operators without a rate may be wrong by so much of it: it comes from a profile."""


def this_processor() -> tuple[str, str]:
    """The processor, and the instruction set that the kernels are made to use, or "best" of those that they have."""
    return describe_machine().cpu, os.environ.get(_ISA_VARIABLE) or "best"


def with_machine_costs(target: Target) -> Target:
    """The target with the table of this machine, where it names none of its own and one was measured.

    Raises:
        RecipeError: the table of this machine is damaged, or of another one.
    """
    if "costs" in target.model_fields_set:
        return target
    table = machine_costs(*this_processor())
    return target if table is None else target.model_copy(update={"costs": table})


def prediction_error(target: Target, unrated: float | None) -> float | None:
    """Share by which the predicted ratio of a whole model may be off; None where the table does not say.

    unrated: share of the dense time of operators that have no rate.
    """
    table = target.costs
    if table.error is None or unrated is None:
        return None
    return float(np.hypot(table.error, _OF_UNRATED * unrated))


def described_costs(target: Target) -> str:
    """Which table a target has, in words."""
    table = target.costs
    where = f"measured on {table.cpu}" if table.cpu else "not measured by measure-costs"
    return f"{where}, {table.fitted}" if table.fitted else where
