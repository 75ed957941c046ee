"""The child process that works on models from strangers: it reads tasks, works within its limits, and answers.

`python -m lth_deploy.workflow.limits.child BYTES` reads requests from the standard input and writes JSON values to the
standard output, one a line: what is logged and how far the work is, and then a result or an error.
"""

import importlib
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lth_deploy import progress
from lth_deploy.disk.temporaries import make_scratch_in
from lth_deploy.run_clock import TimedRun, limit_runs
from lth_deploy.workflow.limits.sent_errors import as_data
from lth_deploy.workflow.limits.settings import LIMITS

log = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], None]


class _Sender(logging.Handler):
    """Sends records of the log to the parent."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send({"log": [record.name, record.levelno, self.format(record)]})


def answer(request: dict[str, Any], send: Send) -> dict[str, Any]:
    """Work on a request, and say what came of it.

    request: `task` as MODULE:FUNCTION, its `arguments`, the `folder` to work in and that for `temporaries`, the
    `seconds` of a run, and the `level` from which on records are logged.
    """
    package = logging.getLogger("lth_deploy")
    package.handlers[:] = [_Sender(send)]
    package.setLevel(request["level"])
    package.propagate = False
    progress.show(progress.Sent(lambda state: send({"progress": state})))
    module, _, name = str(request["task"]).partition(":")
    try:
        os.chdir(request["folder"])
        make_scratch_in(Path(request["temporaries"]))
        limit_runs(request["seconds"])
        _time_all_runs()
        return {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except Exception as error:  # every error goes to the parent, which raises it again
        log.debug("the task failed", exc_info=True)
        return as_data(error)


def _time_all_runs() -> None:
    """Put the clock into the doors of the libraries that run models, so that no caller can forget it."""
    import onnx
    import onnxruntime

    if getattr(onnxruntime.InferenceSession, "timed", False):
        return

    class TimedSession(onnxruntime.InferenceSession):  # type: ignore[misc]
        timed = True

        def __init__(self, *arguments: Any, **named: Any) -> None:
            with TimedRun():  # constants are folded while a model is loaded
                super().__init__(*arguments, **named)

        def run(self, *arguments: Any, **named: Any) -> Any:
            with TimedRun():
                return super().run(*arguments, **named)

    infer_shapes = onnx.shape_inference.infer_shapes

    def timed_shapes(*arguments: Any, **named: Any) -> Any:
        with TimedRun():
            return infer_shapes(*arguments, **named)

    onnxruntime.InferenceSession = TimedSession
    onnx.shape_inference.infer_shapes = timed_shapes


def _limit(memory: int) -> None:
    """Limit the memory that this process may write to; of address space, threads reserve more than they use."""
    for kind, value in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _read(requests: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    # The parent has closed the pipe or was killed: nobody waits for what is being worked on.
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Work on requests until the standard input ends."""
    # What libraries print must not mix with the answers.
    stream, lock = os.fdopen(os.dup(1), "w", encoding="utf-8"), threading.Lock()
    os.dup2(2, 1)

    def send(value: dict[str, Any]) -> None:
        line = json.dumps(value)
        with lock:
            stream.write(line + "\n")
            stream.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    os.environ[LIMITS] = "off"  # what this process starts, and its own tasks, are inside the limits already
    _limit(int(sys.argv[1]))
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), name="requests", daemon=True).start()
    while True:
        send(answer(json.loads(requests.get()), send))


if __name__ == "__main__":
    main()
