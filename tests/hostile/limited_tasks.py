"""Tasks for a child process with limits."""

import logging
import os
import signal
import time

from lth_deploy.errors import ArtifactError, MissingExtraError
from lth_deploy.run_clock import TimedRun


def endless_run() -> None:
    """A run that never ends."""
    with TimedRun():
        signal.pause()


def quick_runs_of_much_work() -> None:
    """Sleep longer than the second that a run may take, before, between and after runs, one inside another."""
    for _ in range(2):
        time.sleep(1.1)
        with TimedRun(), TimedRun():
            time.sleep(0.05)
    time.sleep(1.1)


def missing_extra() -> None:
    """Raise an error whose class makes its own message."""
    raise MissingExtraError("p", "e", "drawing")


def engine_fails() -> None:
    """Raise an error that was raised from one with the text of an engine."""
    try:
        raise ArtifactError("it does not load", detail="INVALID_GRAPH: all of it")
    except ArtifactError as error:
        raise ArtifactError(f"the file was not written: {error}") from error


def talking() -> None:
    """Print as libraries do, and log."""
    os.write(2, b"printed\n")
    time.sleep(0.1)
    logging.getLogger("lth_deploy.talking").warning("a %s", "warning")
    logging.getLogger("lth_deploy.talking").debug("a detail")
