"""Work on models from strangers in a child process that may only take so much time and memory.

A model can loop for ever or allocate any size once it runs; ONNX Runtime cannot be interrupted, and it shares its
memory with the program. So what runs such a model is a task: a function of this package from JSON values to a JSON
value. The child imports it by name, and hands back its result or its error.
"""

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lth_deploy import storage
from lth_deploy.errors import ArtifactError
from lth_deploy.processes import environment, python
from lth_deploy.progress import Receiver
from lth_deploy.workflow.limits.sent_errors import raise_again
from lth_deploy.workflow.limits.settings import MEMORY, SECONDS, Limits, limits

Task = Callable[..., Any]

_NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "MemoryError", "out of memory", "Unable to allocate")
_LONGEST_LINE = 1000
"""Bytes that are logged together of what a library prints."""

log = logging.getLogger(__name__)


def run_limited(task: Task, arguments: dict[str, Any], what: str) -> Any:
    """The result of `task(**arguments)` from a child process; from this one where the environment sets no limits.

    task: a function at the top of a module of this package, from JSON values to a JSON value. what: what the child
    does, as the subject of a sentence.

    Raises:
        ArtifactError: a run took too long, the child took too much memory, or it crashed. Exception: what the task
            raised.
    """
    allowed = limits()
    if allowed is None:
        return json.loads(json.dumps(task(**json.loads(json.dumps(arguments)))))
    with storage.scratch("limited") as temporaries, _using:
        request = {
            "task": f"{task.__module__}:{task.__qualname__}",
            "arguments": arguments,
            "folder": str(Path.cwd()),
            "temporaries": str(temporaries),
            "seconds": allowed.seconds,
            "level": logging.getLogger("lth_deploy").getEffectiveLevel(),
        }
        child = _child(allowed.memory)
        try:
            found = child.work(json.dumps(request))
        finally:
            child.kill_unless_idle()
    if found is None:
        raise ArtifactError(f"{what} {_end(child.status, allowed)}")
    if "result" in found:
        return found["result"]
    said = f"{found['error']}: {found['message']} {found['detail']}"
    if any(words in said for words in _NO_MEMORY):
        raise ArtifactError(f"{what} {_too_much(allowed)}: {found['message'][:200]}")
    raise_again(found)


class _Child:
    """A process that works on one request after the other: starting one takes half a second."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._owner = os.getpid()
        self._idle = True
        self._environment = environment()
        self._process = subprocess.Popen(
            python("-m", "lth_deploy.workflow.limits.child", str(memory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )
        threading.Thread(target=_log_printed, args=(self._process.stderr,), name="prints", daemon=True).start()

    def can_take(self, memory: int) -> bool:
        """Whether it can take a request from this process; a fork of the program must not use its parent's."""
        same = (self._owner, self.memory, self._environment) == (os.getpid(), memory, environment())
        return same and self._idle and self._process.poll() is None

    @property
    def status(self) -> int:
        """How it ended; 0 while it lives."""
        return self._process.returncode or 0

    def work(self, request: str) -> dict[str, Any] | None:
        """The answer to a request; None where the process ends without one.

        What it logs and its progress are shown meanwhile.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._idle = False
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        with contextlib.closing(Receiver()) as shown:
            for line in self._process.stdout:
                if not line.endswith(b"\n"):
                    break  # it ended while it wrote
                value: dict[str, Any] = json.loads(line)
                if "progress" in value:
                    shown.receive(value["progress"])
                elif "log" in value:
                    name, level, message = value["log"]
                    logging.getLogger(name).log(level, "%s", message)
                else:
                    self._idle = True
                    return value
        self._process.wait()
        return None

    def kill_unless_idle(self) -> None:
        """End it if it works on something that nobody waits for any more."""
        if not self._idle:
            self.kill()

    def kill(self) -> None:
        """End it and wait for that."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


_using = threading.Lock()
_kept: list[_Child] = []


def _child(memory: int) -> _Child:
    """The child of the last request where it can be used again."""
    if _kept and _kept[0].can_take(memory):
        return _kept[0]
    end_child()
    _kept[:] = [_Child(memory)]
    return _kept[0]


@atexit.register
def end_child() -> None:
    """End the child that waits for the next task."""
    for child in _kept:
        if child._owner == os.getpid():
            child.kill()
    _kept.clear()


def _end(status: int, allowed: Limits) -> str:
    """What happened to a child that gave no answer."""
    if status == -signal.SIGALRM:
        return (
            f"was stopped: one run of the model took longer than {allowed.seconds:g} s; {SECONDS} sets the seconds "
            "that a run may take"
        )
    name = signal.Signals(-status).name if -status in signal.valid_signals() else f"status {status}"
    if status in (-signal.SIGABRT, -signal.SIGKILL):  # what an allocation ends in that nobody caught
        return f"{_too_much(allowed)} ({name})"
    return f"crashed ({name}); the model is damaged, or an engine has a fault: please report it"


def _too_much(allowed: Limits) -> str:
    return f"needs more than {allowed.memory / 2**30:.1f} GiB of memory; {MEMORY} sets the GiB that it may take"


def _log_printed(stream: IO[bytes]) -> None:
    """Log what libraries print in the child, which only --verbose shows."""
    with stream:
        while line := stream.readline(_LONGEST_LINE):
            if line.strip():
                log.debug("%s", line.decode(errors="replace").rstrip())
