"""What runs on the machine of a cluster that a row was sent to: the same process as at home."""

import time
from collections.abc import Callable

from lth_deploy import storage
from lth_deploy.errors import LthError, StorageError
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Task
from lth_deploy.workflow.sweep.processes import Process, Slot
from lth_deploy.workflow.sweep.starts import note_start

POLL = 0.1
LOCK_WAIT = 60.0
"""Seconds that a row waits for its run directory: what ran it on a machine that was lost may end a little later."""


def run_row(task: Task, device: str, threads: int, begun: Callable[[Process], None] = lambda process: None) -> Ended:
    """Run a row to its end. begun: gets its process. Exceptions stop the process first."""
    try:
        note_start(task.start_file)
        _wait_for(task)
    except LthError as error:
        return Ended(error.exit_code, str(error))
    process = Process(
        task.name, Slot(device, device, {"OMP_NUM_THREADS": str(threads)}), task.arguments(device), task.program
    )
    begun(process)
    try:
        while (ended := process.ended()) is None:
            time.sleep(POLL)
    except BaseException:
        process.interrupt()
        process.stop()
        raise
    return ended


def _wait_for(task: Task) -> None:
    """Wait until no other process holds the run directory.

    Raises:
        StorageError: one still does, or the disk refuses.
    """
    deadline = time.monotonic() + LOCK_WAIT
    while (task.run / storage.LOCK).exists():
        try:
            with storage.locked(task.run):
                return
        except StorageError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1.0)
