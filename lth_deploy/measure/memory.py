"""Load time, first inference and peak memory, each in a process that has done nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from lth_deploy.errors import ArtifactError
from lth_deploy.processes import run_tied

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class FreshProcess:
    """What one fresh process measured.

    load_ms: from path to session. first_ms: the first inference, with what the engine does late.
    base_rss_bytes: peak with the engine imported and nothing loaded; peak_rss_bytes: the peak (VmHWM) after
    `runs` inferences.
    """

    load_ms: float
    first_ms: float
    base_rss_bytes: int
    peak_rss_bytes: int


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far: VmHWM of Linux, the kernel's maximum elsewhere.

    getrusage is the second choice because on Linux a child inherits the figure of the parent it was forked
    from.
    """
    if _STATUS.exists():
        match = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if match:
            return int(match.group(1)) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_here(load: Callable[[], Callable[[], object]], runs: int = 2) -> FreshProcess:
    """Load and run in this process, which should be a fresh one; `load` returns what runs one inference."""
    base = peak_rss_bytes()
    start = perf_counter()
    infer = load()
    loaded = perf_counter()
    infer()
    first = perf_counter()
    for _ in range(runs - 1):
        infer()
    return FreshProcess((loaded - start) * 1e3, (first - loaded) * 1e3, base, peak_rss_bytes())


def print_measurement(measured: FreshProcess) -> None:
    """Hand the figures to the parent: one line of JSON on stdout."""
    print(json.dumps(asdict(measured)))


def measure_fresh(command: Sequence[str], *, timeout: float = 600.0) -> FreshProcess:
    """Run `command`, whose last line on stdout is that of `print_measurement` and which calls `end_with_parent`.

    Raises:
        ArtifactError: the process failed, hung, or said something else; the message has its last words.
    """
    try:
        finished = run_tied(command, timeout)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            f"measuring in a fresh process took more than {timeout:.0f} s: {' '.join(command)}; use fewer "
            f"images "
            "or a smaller model"
        ) from error
    if finished.returncode != 0:
        words = finished.stderr.strip().splitlines()
        raise ArtifactError(
            f"measuring in a fresh process failed with status {finished.returncode}: "
            f"{words[-1] if words else 'no message'}; run it by hand: {' '.join(command)}"
        )
    try:
        values: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
        return FreshProcess(**values)
    except (ValueError, IndexError, TypeError) as error:
        raise ArtifactError(
            f"a fresh process printed no measurement but {finished.stdout[-200:]!r}; run it by hand: "
            f"{' '.join(command)}"
        ) from error
