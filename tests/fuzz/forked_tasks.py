"""What runs a model does so in a process that takes half a second to start; a fork of the fuzzed child takes none.

The limits of a campaign's child hold for its forks. A process with threads is not forked: it starts one as users' do.
"""

import contextlib
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from lth_deploy.workflow.limits import child, limited_process
from tests.waiting import exit_code_of_fork

_SECONDS = 20.0
_Started = limited_process._Child


class _Forked:
    """`limited_process._Child` for one request."""

    status = 0

    def __init__(self, memory: int) -> None:
        self.owner = os.getpid()
        self._process = 0

    def can_take(self, memory: int) -> bool:
        """It takes one request only."""
        return False

    def work(self, request: str) -> dict[str, Any] | None:
        """The answer; None where the fork ends without one, which is an error too where it takes too long."""
        read, write = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            _answer(request, write)
        os.close(write)
        deadline, answer = time.monotonic() + _SECONDS, b""
        waiting = select.poll()
        waiting.register(read, select.POLLIN | select.POLLHUP)
        try:
            while not answer.endswith(b"\n"):
                if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    os.kill(self._process, signal.SIGALRM)
                part = os.read(read, 1 << 16)
                if not part:
                    break
                answer += part
        finally:
            os.close(read)
        self.status = exit_code_of_fork(self._process)
        self._process = 0
        return json.loads(answer) if answer.endswith(b"\n") else None

    def kill_unless_idle(self) -> None:
        """End it if it still works."""
        self.kill()

    def kill(self) -> None:
        """End it and wait for that."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            exit_code_of_fork(self._process)
            self._process = 0


def _answer(request: str, write: int) -> None:
    try:
        answer = json.dumps(child.answer(json.loads(request), lambda logged: None))
        with os.fdopen(write, "w") as pipe:
            pipe.write(answer + "\n")
    finally:
        os._exit(0)


def _child(memory: int) -> object:
    threads = len(list(Path("/proc/self/task").iterdir()))
    return _Forked(memory) if threads == 1 else _Started(memory)


def fork_tasks() -> None:
    """Let tasks of this process run in forks of it."""
    limited_process._Child = _child  # type: ignore[assignment, misc]
