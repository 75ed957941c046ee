"""The head of every result file (command, time, machine, versions), the ratio of two rows, and writing a report."""

import json
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.measure.machine import describe_machine
from lth_deploy.run.directory import versions


def head(schema: str, module: str) -> dict[str, Any]:
    """The first keys of a report, made when a benchmark starts. module: what stands behind `python -m`."""
    return {
        "schema": schema,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine().model_dump(),
        "versions": versions(),
    }


def ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """How many times as fast as `base`: the median over samples that were taken side by side."""
    return statistics.median(b / o for b, o in zip(base, other, strict=True))


def publish(report: Mapping[str, Any], file: Path | None) -> None:
    """Print a report as JSON, and write it to `file` where one is named."""
    text = json.dumps(report, indent=1)
    if file:
        storage.write_text(file, text + "\n")
    print(text)
