"""The table of costs of the machine at hand: where it is kept, and that it belongs to this processor."""

import os
from pathlib import Path

from lth_deploy.config import strict_yaml
from lth_deploy.config.cost_table import CostTable
from lth_deploy.config.validation import Section, validate
from lth_deploy.errors import RecipeError

VARIABLE = "LTH_COSTS"
"""Names the file of the table, or is `none` for no table but the bundled one."""

NONE = "none"

_AGAIN = "run lth-deploy measure-costs on this machine"


class CostsFile(Section):
    """What `measure-costs` writes: a target whose other keys have their defaults."""

    name: str = "this_machine"
    costs: CostTable = CostTable()


def costs_file() -> Path | None:
    """Where the table of this machine is kept, whether it is there or not; None where the user wants none."""
    named = os.environ.get(VARIABLE)
    if named == NONE:
        return None
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "lth-deploy" / "costs.yaml"


def machine_costs(cpu: str, isa: str) -> CostTable | None:
    """The table of this machine; None where none was measured.

    cpu, isa: the processor, and the instruction set of the kernels.

    Raises:
        RecipeError: it is damaged, has impossible rates, or is of another processor.
    """
    file = costs_file()
    if file is None or not (file.is_file() or os.environ.get(VARIABLE)):
        return None
    try:
        table = validate(CostsFile, strict_yaml.load(file)).costs
    except RecipeError as error:
        first = str(error).splitlines()[0]
        raise RecipeError(f"the cost table of this machine cannot be used: {first}; {_AGAIN}") from error
    if not table.predicts_whole_models:
        raise RecipeError(f"{file} has no rates of operators; {_AGAIN}")
    if (table.cpu, table.isa) != (cpu, isa):
        raise RecipeError(
            f"{file} was measured on '{table.cpu}' ({table.isa}), this is '{cpu}' ({isa}); {_AGAIN}, or set "
            f"{VARIABLE}={NONE}"
        )
    return table
