"""Waits of tests, each with an end: what does not happen in time fails, and says what was waited for.

The times are generous: a machine that is busy takes many times as long as an idle one.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, AnyStr, TypeVar

import psutil

SECONDS = 180.0

T = TypeVar("T")


def wait_until(look: Callable[[], T], what: str, seconds: float = SECONDS, pause: float = 0.05) -> T:
    """What `look` returns once that is true. what: the event, as the subject of "did not happen"."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds:g} s"
        time.sleep(pause)
    return found


def next_line(process: "subprocess.Popen[str]", seconds: float = SECONDS) -> str:
    """The next line that a process prints, without white space at its ends; one that prints none is killed."""
    assert process.stdout is not None
    with killed_after(process, seconds):
        line = process.stdout.readline()
    assert line, f"the process ended without a line, or printed none within {seconds:g} s and was killed"
    return line.strip()


@contextmanager
def killed_after(process: "subprocess.Popen[Any]", seconds: float = SECONDS) -> Iterator[None]:
    """A process that is killed where the block takes too long, so that reading from it comes to an end."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def killed_at_the_end(process: "subprocess.Popen[AnyStr]") -> Iterator["subprocess.Popen[AnyStr]"]:
    """A process that does not outlive the block: `with Popen` would wait for it even if a test has failed."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def has_ended(process: int) -> bool:
    """Whether a process has ended; its parent, or what took it over, may not have taken note yet."""
    try:
        found = psutil.Process(process)
        # Its first thread may be gone before the others, and until they are, nobody can take note of its end.
        return found.status() == psutil.STATUS_ZOMBIE and found.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def exit_code_of_fork(child: int, seconds: float = SECONDS) -> int:
    """How a fork of this process ended, negative for a signal; one that does not end is killed."""
    end, pause = time.monotonic() + seconds, 0.001
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"a fork did not end within {seconds:g} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return os.waitstatus_to_exitcode(ended[1])
