"""The table of costs of the machine at hand: where it is kept, and that it belongs to this processor."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.config import strict_yaml
from lth_deploy.config.cost_table import CostTable, bundled_costs
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


@dataclass(frozen=True)
class Processor:
    """A processor by its name, the instruction set of the kernels, its family and its instruction sets."""

    cpu: str
    isa: str
    family: str = ""
    instructions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"'{self.cpu}' ({', '.join(filter(None, (self.family, self.isa)))})"

    @property
    def slug(self) -> str:
        """A name for files, which no other processor or instruction set has."""
        instructions = hashlib.sha256(" ".join(sorted(self.instructions)).encode()).hexdigest()[:8]
        words = re.findall(r"[a-z0-9]+", f"{self.cpu} {self.family} {self.isa}".lower())
        return "-".join([*words, instructions])

    def made(self, table: CostTable) -> bool:
        """Whether a table was measured on such a processor; of tables without a family only the name is known."""
        if not table.family:
            return (table.cpu, table.isa) == (self.cpu, self.isa)
        return (table.cpu, table.isa) == (self.cpu, self.isa) and self.is_like(table)

    def is_like(self, table: CostTable) -> bool:
        """Whether a table was measured on the same design, whatever its name."""
        same = (table.family, table.isa) == (self.family, self.isa) and bool(table.family)
        return same and set(table.instructions) == set(self.instructions)


def costs_file(processor: Processor) -> Path | None:
    """Where the table of a processor is kept, whether it is there or not; None where the user wants none.

    Each processor and instruction set has a file of its own: one home may serve several machines.
    """
    named = os.environ.get(VARIABLE)
    if named == NONE:
        return None
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "lth-deploy" / "costs" / f"{processor.slug}.yaml"


def processor_of(table: CostTable) -> Processor:
    """The processor that a table was measured on."""
    return Processor(table.cpu, table.isa, table.family, tuple(table.instructions))


def bundled_for(processor: Processor) -> str | None:
    """The bundled target whose table was measured on the same design of a processor; None without one."""
    return next((name for name, table in bundled_costs().items() if processor.is_like(table)), None)


def machine_costs(processor: Processor) -> CostTable | None:
    """The table of this machine; None where none was measured. processor: that of this machine.

    Raises:
        RecipeError: it is damaged, has impossible rates, or the user named one of another processor.
    """
    file = costs_file(processor)
    if file is None or not (file.is_file() or os.environ.get(VARIABLE)):
        return None
    try:
        table = validate(CostsFile, strict_yaml.load(file)).costs
    except RecipeError as error:
        first = str(error).splitlines()[0]
        raise RecipeError(f"the cost table of this machine cannot be used: {first}; {_AGAIN}") from error
    if not table.predicts_whole_models:
        raise RecipeError(f"{file} has no rates of operators; {_AGAIN}")
    if not processor.made(table):
        raise RecipeError(
            f"{file} was measured on {processor_of(table)}, this is {processor}; {_AGAIN}, or set {VARIABLE}={NONE}"
        )
    return table
