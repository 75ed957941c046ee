"""The verb `measure-costs`: fit the table of costs to this machine, and keep it where `export` finds it."""

import logging
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config import strict_yaml
from lth_deploy.config.cost_table import CostTable
from lth_deploy.config.machine_costs import costs_file
from lth_deploy.progress import progress
from lth_deploy.workflow.machine_costs import computes_bf16, multiplies_tiles, this_processor

log = logging.getLogger(__name__)

ROUNDS = 12
QUICK_ROUNDS = 5
_SECONDS = 30.0
"""Behind so much processor time the probes that are left get fewer rounds."""


@dataclass(frozen=True)
class MeasuredCosts:
    """The table, the files that it was written to, and seconds that it took."""

    table: CostTable
    files: tuple[Path, ...]
    seconds: float


def measure_costs(out: Path | None = None, *, name: str = "this_machine", keep: bool = True) -> MeasuredCosts:
    """Time the probes on one thread, fit the table, and write it as a target.

    out: file to write it to. name: of the target. keep: whether it becomes this machine's own table.

    Raises:
        MissingLibraryError: the kernel library was not built. StorageError: the disk refuses.
    """
    from lth_deploy.workflow.measure_costs.fit import fitted_table
    from lth_deploy.workflow.measure_costs.observe import observe
    from lth_deploy.workflow.measure_costs.probes import probes

    began, used, observed = time.monotonic(), time.process_time(), []
    networks = list(probes(bf16=computes_bf16(), tiles=multiplies_tiles()))
    with progress("timing of small networks", total=len(networks)) as step:
        for probe in networks:
            late = time.process_time() - used > _SECONDS
            observed.append(observe(probe, QUICK_ROUNDS if late else ROUNDS))
            step()
    processor = this_processor()
    table = fitted_table(observed, processor, _about())
    files = tuple(dict.fromkeys(file for file in (out, costs_file(processor) if keep else None) if file is not None))
    for file in files:
        with storage.disk_errors(f"cannot write {file}"):
            file.parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(file, target_text(name, table))
        log.info("wrote %s", file)
    return MeasuredCosts(table, files, time.monotonic() - began)


def target_text(name: str, table: CostTable) -> str:
    """A target file with this table."""
    values = table.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    about = f"# Costs of {table.cpu} ({table.isa}), measured by lth-deploy measure-costs on {table.fitted}.\n"
    return about + strict_yaml.dump({"name": name, "costs": values})


def _about() -> str:
    import onnxruntime

    return f"{date.today().isoformat()}, onnxruntime {onnxruntime.__version__}"
