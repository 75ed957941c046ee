"""What every benchmark's JSON says of itself: command, time, machine, versions."""

import shlex
import sys
from datetime import UTC, datetime
from typing import Any

from lth_deploy.measure.machine import describe_machine
from lth_deploy.ticket import versions


def head(schema: str, module: str) -> dict[str, Any]:
    """The first keys of a report, made when a benchmark starts. module: what stands behind `python -m`."""
    return {
        "schema": schema,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine().model_dump(),
        "versions": versions(),
    }
