"""What runs on the machine of a cluster that a row was sent to: the same process as at home."""

import time
from collections.abc import Callable
from pathlib import Path

from lth_deploy import storage
from lth_deploy.errors import LthError, StorageError
from lth_deploy.run.remote.lease import EXPIRES, RENEW, Lease
from lth_deploy.run.remote.location import is_remote, location_of
from lth_deploy.run.remote.look import copy_files
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Task
from lth_deploy.workflow.sweep.processes import Process, Slot
from lth_deploy.workflow.sweep.starts import note_start

POLL = 0.1
LOCK_WAIT = 60.0
"""Seconds that a row waits for its run directory: what ran it on a machine that was lost may end a little later."""
LEASE_WAIT = EXPIRES + RENEW
"""The same at a URL, where the lease of a machine that was lost expires first."""
_DEEPEST = 9
"""Folders below each other in what a smoke draws, and some more."""


def run_row(task: Task, device: str, threads: int, begun: Callable[[Process], None] = lambda process: None) -> Ended:
    """Run a row to its end. begun: gets its process. Exceptions stop the process first."""
    try:
        note_start(task.start_file)
        _bring(task)
        _wait_for(task.run)
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


def _bring(task: Task) -> None:
    """Put what recipes name by a path where they expect it.

    Raises:
        StorageError: the disk or the store refuses.
    """
    if task.brought is not None:
        url, folder = task.brought
        copy_files(url, ["/".join("*" * depth) for depth in range(1, _DEEPEST)], folder)


def _wait_for(run: str) -> None:
    """Wait until no other process holds the run.

    Raises:
        StorageError: one still does, or the disk or the store refuses.
    """
    remote = is_remote(run)
    deadline = time.monotonic() + (LEASE_WAIT if remote else LOCK_WAIT)
    while remote or (Path(run) / storage.LOCK).exists():
        try:
            if remote:
                Lease(location_of(run)).require_free()
                return
            with storage.locked(Path(run)):
                return
        except StorageError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1.0)
