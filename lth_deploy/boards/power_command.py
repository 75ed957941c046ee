"""A command on this machine that prints watts, such as the reader of a USB meter.

It either prints a number a line as long as it runs, or prints one and ends; then it is started again.
"""

import logging
import math
import shlex
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from subprocess import Popen
from types import TracebackType

from lth_deploy.errors import BoardError, UsageError
from lth_deploy.processes import end_any_group, start_reader, wait_for_leader

_LONGEST_LINE = 200
_MOST_WATTS = 1e6
_LEAST = 3
"""Numbers that a mean needs."""

_PATIENCE = 5.0
"""Seconds in which a command has to end that belongs to another user."""

log = logging.getLogger(__name__)


def parse_power_command(text: str) -> tuple[str, ...]:
    """Its words, as a shell would split them; no shell ever sees them.

    Raises:
        UsageError: there is no such program, or a quote without an end.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--power-command {text}: {error}; write it as in a shell") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError(f"--power-command {text}: there is no such program here; give one that prints watts")
    return tuple(words)


@dataclass
class PowerCommand:
    """Use it in a `with` statement. silence: seconds that may pass without a number; pause: between two starts."""

    command: Sequence[str]
    silence: float = 10.0
    pause: float = 0.1
    _samples: "deque[tuple[float, float]]" = field(default_factory=lambda: deque(maxlen=100_000))
    _fault: str = ""
    _process: "Popen[bytes] | None" = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "PowerCommand":
        self._thread = threading.Thread(target=self._watch, name="power command", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ending.set()
            if self._process is not None and end_any_group(self._process, _PATIENCE) is None:
                log.warning(
                    "--power-command %s goes on as process %d of another user, and prints no more; end it by hand",
                    self.command[0],
                    self._process.pid,
                )
        if self._thread is not None:
            self._thread.join(5)

    def wait(self, count: int = _LEAST) -> None:
        """Until it has printed so many numbers from now on.

        Raises:
            BoardError: it has ended, prints something else, or is silent for too long.
        """
        begin = time.monotonic()
        last = begin
        while True:
            moments = [moment for moment, _ in list(self._samples) if moment >= begin]
            if len(moments) >= count:
                return
            last = max([last, *moments])
            if self._fault:
                raise self._error(self._fault)
            if time.monotonic() - last > self.silence:
                raise self._error(f"has printed no number for {self.silence:g} s")
            time.sleep(0.02)

    def watts(self, begin: float, end: float) -> float:
        """The mean between two moments of `time.monotonic`.

        Raises:
            BoardError: there are too few numbers for one.
        """
        found = [watts for moment, watts in list(self._samples) if begin <= moment <= end]
        if len(found) >= _LEAST:
            return fmean(found)
        raise self._error(
            self._fault or f"has printed {len(found)} numbers in {end - begin:.0f} s, fewer than {_LEAST}"
        )

    def _error(self, what: str) -> BoardError:
        return BoardError(f"energy is left out: --power-command {self.command[0]} {what}")

    def _watch(self) -> None:
        while not self._ending.is_set() and not self._fault:
            with self._lock:
                if self._ending.is_set():
                    return
                try:
                    self._process = start_reader(self.command)
                except OSError as error:
                    self._fault = f"cannot be started: {error.strerror or error}"
                    return
            process = self._process
            self._fault = self._read(process)
            end_any_group(process, _PATIENCE)
            self._ending.wait(self.pause)

    def _read(self, process: "Popen[bytes]") -> str:
        """Keep all numbers of one run; what was wrong with it."""
        assert process.stdout is not None
        printed = 0
        with process.stdout:
            # Once nobody reads any more, whatever prints next ends by itself, also where it may not be ended from here.
            while not self._ending.is_set() and (line := process.stdout.readline(_LONGEST_LINE)):
                text = line.decode(errors="replace").strip()
                watts = watts_of(text)
                if text and watts is None:
                    return f"prints {text!r:.100}, which is no number of watts"
                if watts is not None:
                    self._samples.append((time.monotonic(), watts))
                    printed += 1
        if self._ending.is_set():
            return ""
        wait_for_leader(process)
        status = end_any_group(process, _PATIENCE)
        if status != 0:
            return f"has ended with status {status}"
        return "" if printed else "has ended and printed no number"


def watts_of(text: str) -> float | None:
    """The number of a line such as `5.1` or `5.1 W`; None for everything else."""
    try:
        found = float(text.removesuffix("W"))
    except ValueError:
        return None
    return found if math.isfinite(found) and 0 <= found <= _MOST_WATTS else None
