"""The processes that run rows: one `find-ticket` each, on a device of its own, with its share of the threads."""

import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lth_deploy.errors import UsageError
from lth_deploy.processes import end_group, environment, has_ended, python
from lth_deploy.workflow.sweep.launchers.protocol import Ended

logger = logging.getLogger(__name__)

PROGRAM = "from lth_deploy.cli import main; main()"
_ENDING = "from lth_deploy.processes import end_with_parent; end_with_parent()"
PATIENCE = 30.0
"""Seconds that a process is given to end when it is asked to."""
_DEVICE = re.compile(r"auto|cpu|cuda(?::([0-9]+))?")
_ERROR = "error: "
_POLL = 0.05


@dataclass(frozen=True)
class Slot:
    """A place for one process at a time. device: as find-ticket takes it; variables: what its environment gets."""

    name: str
    device: str
    variables: dict[str, str]


def slots_of(devices: Sequence[str], jobs: int | None) -> list[Slot]:
    """One slot a device, or `jobs` slots over the devices in turn; the processor's threads are divided among them.

    Raises:
        UsageError: a device of another name, or no jobs.
    """
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise UsageError(f"unknown --device '{device}'; choose auto, cpu, cuda, or GPUs such as cuda:0,cuda:1")
    count = len(devices) if jobs is None else jobs
    if not devices or count < 1:
        raise UsageError(f"--jobs {count}: give the number of runs at once, 1 or more")
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    return [_slot(devices[number % len(devices)], threads) for number in range(count)]


def _slot(device: str, threads: int) -> Slot:
    variables = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}
    number = device.partition(":")[2]
    if number:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        # Numbers count the GPUs that this process sees, as torch counts them.
        known = int(number) < len(visible) and visible[int(number)]
        variables["CUDA_VISIBLE_DEVICES"] = known or number
    return Slot(device, device.partition(":")[0], variables)


@dataclass
class Process:
    """One running row. Its log lines go to ours, under its name; the last ones are kept for its error."""

    name: str
    slot: Slot
    arguments: list[str]
    program: str = ""
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Start it, in a group of its own: Ctrl-C reaches it through `stop` only."""
        self._lines: deque[str] = deque(maxlen=60)
        self._process = subprocess.Popen(
            python("-c", f"{_ENDING}; {self.program or PROGRAM}", *self.arguments),
            stdin=subprocess.PIPE,  # never written to; it closes when this process ends, in whatever way
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment(self.slot.variables),
            start_new_session=True,
        )
        self._lock, self._over = threading.RLock(), False
        self._code: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def poll(self) -> int | None:
        """The exit code once the process has ended, and with it what it had started; None while it runs."""
        return self._end() if self._code is not None or has_ended(self._process) else None

    def ended(self) -> Ended | None:
        """How the process ended; None while it runs."""
        code = self.poll()
        return None if code is None else Ended(code, self.error(code) if code else None, self.seconds)

    @property
    def seconds(self) -> float:
        """Time since its start."""
        return time.monotonic() - self.began

    def error(self, code: int) -> str:
        """Why it ended with `code`: its own message, or its last words."""
        if code < 0:
            return f"ended by {signal.Signals(-code).name}; the system may be out of memory"
        lines = list(self._lines)
        starts = [number for number, line in enumerate(lines) if line.startswith(_ERROR)]
        message = "\n".join(lines[starts[-1] :]).removeprefix(_ERROR) if starts else "\n".join(lines[-3:])
        return message or f"ended with exit code {code} and no message"

    def interrupt(self) -> None:
        """Ask it and what it started to end; what a search has on disk is whole at any moment."""
        self._send(os.killpg, signal.SIGTERM)

    def save_and_end(self) -> None:
        """Ask a search to write a checkpoint and end, and wait as long as that may take; for signal handlers too."""
        self._send(os.kill, signal.SIGUSR2)
        if not self._ends():
            self.interrupt()
            self.stop()

    def stop(self) -> Ended:
        """Wait for its end after `interrupt`, and insist when it takes too long."""
        self._ends()
        return Ended(self._end(), seconds=self.seconds)

    def _ends(self) -> bool:
        """Whether it ends by itself within the time that it is given."""
        deadline = time.monotonic() + PATIENCE
        while not self._over and not has_ended(self._process):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        return True

    def _end(self) -> int:
        """End what is left of it and of what it has started; its exit code."""
        with self._lock:
            self._over = True  # from here on its number may be that of another process
            if self._code is None:
                self._code = end_group(self._process)
        self._reader.join(PATIENCE)
        return self._code

    def _send(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        """Signal it, unless its number may be that of another process by now."""
        with self._lock:
            if not self._over:
                with suppress(ProcessLookupError):
                    send(self._process.pid, number)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line.rstrip())
            logger.info("%s: %s", self.name, line.rstrip())
