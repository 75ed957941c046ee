"""Work on models from strangers in a child process that may only take so much time and memory.

A model can loop for ever or allocate any size once it runs; ONNX Runtime cannot be interrupted, and it shares its
memory with the program. So what runs such a model is a task: a function of this package from JSON values to a JSON
value. The child imports it by name, and hands back its result or its error.
"""

import atexit
import contextlib
import importlib
import json
import logging
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lth_deploy import errors
from lth_deploy.errors import ArtifactError, LthError, UsageError
from lth_deploy.processes import environment, python

Task = Callable[..., Any]

SECONDS = "LTH_RUN_SECONDS"
MEMORY = "LTH_RUN_MEMORY"

DEFAULT_SECONDS = 120.0
"""Seconds that a run of a model may take; loading it counts as a run."""

MOST_GIB = 16.0
USUAL_SHARE = 0.75
"""Without MEMORY a child gets this share of the machine's memory, and at most MOST_GIB."""

_MOST_SECONDS, _MOST_MEMORY = 1e6, 2.0**30
"""What the system's calls can express: eleven days, and an exbibyte."""

_LOG = "lth-log"
_NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "MemoryError", "out of memory", "Unable to allocate")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a child may take: seconds from its start to its end, bytes of address space."""

    seconds: float
    memory: int


def limits(runs: int = 1) -> Limits:
    """The limits of a child that loads a model and runs it `runs` times, from the environment or the defaults.

    Raises:
        UsageError: a variable of the environment is no positive number.
    """
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    usual = min(MOST_GIB, USUAL_SHARE * pages / 2**30)
    seconds = min((runs + 1) * _number(SECONDS, DEFAULT_SECONDS), _MOST_SECONDS)
    return Limits(seconds, int(min(_number(MEMORY, usual), _MOST_MEMORY) * 2**30))


def run_limited(task: Task, arguments: dict[str, Any], allowed: Limits, what: str) -> Any:
    """The result of `task(**arguments)` from a child process.

    task: a function at the top of a module of this package, from JSON values to a JSON value. what: what the child
    does, as the subject of a sentence.

    Raises:
        ArtifactError: the child took too long or too much memory, or crashed. LthError: what the task raised.
    """
    name = f"{task.__module__}:{task.__qualname__}"
    request = json.dumps({"task": name, "arguments": arguments, "seconds": allowed.seconds})
    with _using:
        child = _child(allowed.memory)
        try:
            answer = child.ask(request, allowed.seconds)
        except TimeoutError:
            raise ArtifactError(f"{what} {_too_long(allowed)}") from None
        finally:
            _log_again(child.said())
            child.kill_unless_idle()
    return _result(answer, child.status, allowed, what)


class _Child:
    """A process that works on one request after the other: starting one takes half a second."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.owner = os.getpid()
        self._idle = True
        self._read = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        # One thread: numbers of threads multiply address space, and gates compare on one thread anyway.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            python("-m", __name__, str(memory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(threads),
        )

    @property
    def alive(self) -> bool:
        """Whether it can take a request from this process; a fork of the program must not use its parent's."""
        return self.owner == os.getpid() and self._idle and self._process.poll() is None

    @property
    def status(self) -> int:
        """How it ended; 0 while it lives."""
        return self._process.returncode or 0

    def ask(self, request: str, seconds: float) -> bytes:
        """The answer to a request; what there is of it where the process ends.

        Raises:
            TimeoutError: there is none within `seconds`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._idle = False
        deadline = time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        waiting, answer = select.poll(), b""
        waiting.register(self._process.stdout, select.POLLIN)
        while not answer.endswith(b"\n"):
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                self._process.wait()
                return answer
            answer += part
        self._idle = True
        return answer

    def said(self) -> str:
        """What it has printed since the last call."""
        self._errors.seek(self._read)
        text = self._errors.read()
        self._read += len(text)
        return text.decode(errors="replace")

    def kill_unless_idle(self) -> None:
        """End it if it works on something that nobody waits for any more."""
        if not self._idle:
            self.kill()

    def kill(self) -> None:
        """End it and wait for that."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass  # closes the pipes and waits
        self._errors.close()


_using = threading.Lock()
_kept: list[_Child] = []


def _child(memory: int) -> _Child:
    """The child of the last request where it can be used again."""
    if _kept and _kept[0].alive and _kept[0].memory == memory:
        return _kept[0]
    end_child()
    _kept[:] = [_Child(memory)]
    return _kept[0]


@atexit.register
def end_child() -> None:
    """End the child that waits for the next task, for instance because the environment it inherited has changed."""
    for child in _kept:
        if child.owner == os.getpid():
            child.kill()
    _kept.clear()


def _result(answer: bytes, status: int, allowed: Limits, what: str) -> Any:
    try:
        found = json.loads(answer)
    except ValueError:
        raise ArtifactError(f"{what} {_end(status, allowed)}") from None
    if "result" in found:
        return found["result"]
    message = str(found["message"])
    if any(words in message for words in _NO_MEMORY):
        raise ArtifactError(f"{what} {_too_much(allowed)}: {message[:200]}")
    kind = getattr(errors, str(found["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, LthError)):
        raise ArtifactError(f"{what} failed: {found['error']}: {message[:500]}")
    raised = kind.__new__(kind)
    Exception.__init__(raised, message)
    raise raised


def _end(status: int, allowed: Limits) -> str:
    """What happened to a child that gave no answer."""
    if status in (-signal.SIGXCPU, -signal.SIGALRM):
        return _too_long(allowed)
    name = signal.Signals(-status).name if -status in signal.valid_signals() else f"status {status}"
    if status in (-signal.SIGABRT, -signal.SIGKILL):  # what an allocation ends in that nobody caught
        return f"{_too_much(allowed)} ({name})"
    return f"crashed ({name}); the model is damaged, or an engine has a fault: please report it"


def _too_long(allowed: Limits) -> str:
    return f"took longer than {allowed.seconds:.0f} s and was stopped; {SECONDS} sets the seconds a run may take"


def _too_much(allowed: Limits) -> str:
    return f"needs more than {allowed.memory / 2**30:.1f} GiB of memory; {MEMORY} sets the GiB that it may take"


def _log_again(said: str) -> None:
    """Log what the child logged; what libraries printed is for --verbose."""
    for line in said.splitlines():
        mark, _, rest = line.partition(" ")
        level, _, message = rest.partition(" ")
        known = mark == _LOG and level.isdigit()
        log.log(int(level) if known else logging.DEBUG, "%s", message if known else line)


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


def _limit(memory: int) -> None:
    """Put the limits that hold for its whole life on this process."""
    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    module, _, name = str(request["task"]).partition(":")
    # A parent that was killed must not leave work behind for ever: the signal ends this process.
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 1)
    try:
        return {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except Exception as error:  # every error goes to the parent, which raises it again
        log.debug("the task failed", exc_info=True)
        return {"error": type(error).__name__, "message": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """The child: read requests, work within the limits, print the answers."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{_LOG} %(levelno)d %(message)s"))
    package = logging.getLogger("lth_deploy")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit(int(sys.argv[1]))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
