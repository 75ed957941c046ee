"""How much time and memory models from strangers may take."""

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.errors import UsageError

SECONDS = "LTH_RUN_SECONDS"
MEMORY = "LTH_RUN_MEMORY"
LIMITS = "LTH_RUN_LIMITS"
"""Set to `off`, models run in the process of the command, without limits."""

DEFAULT_SECONDS = 120.0
USUAL_SHARE = 0.75
"""Without MEMORY, a child process gets this share of the machine's or the container's memory."""

_MOST_SECONDS, _MOST_MEMORY = 1e6, 2.0**30
"""What the system's calls can express: eleven days, and an exbibyte."""

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Limits:
    """What a child process may take: seconds of each run of a model, and bytes of memory in all."""

    seconds: float
    memory: int


def limits() -> Limits | None:
    """The limits that the environment sets, or the defaults; None where it sets that there are none.

    Raises:
        UsageError: a variable has a value that it cannot have.
    """
    switch = os.environ.get(LIMITS, "on")
    if switch not in ("on", "off"):
        raise UsageError(f"{LIMITS}={switch} is unknown; set it to on or off")
    seconds = min(_number(SECONDS, DEFAULT_SECONDS), _MOST_SECONDS)
    memory = int(min(_number(MEMORY, USUAL_SHARE * _available() / 2**30), _MOST_MEMORY) * 2**30)
    return Limits(seconds, memory) if switch == "on" else None


def _available() -> int:
    """Bytes of memory of the machine, or of the container where that is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # `max` means that there is no limit
            found.append(int(file.read_text()))
    return min(found)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{variable}={text} is no positive number; correct the variable or leave it out")
    return value
