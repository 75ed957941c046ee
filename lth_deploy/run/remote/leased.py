"""Work in a local folder whose remote twin this process holds, and which follows it every few seconds."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lth_deploy.run.remote.lease import Lease
from lth_deploy.run.remote.location import refusals
from lth_deploy.run.remote.twin import Twin

logger = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two looks at the local folder."""


@contextmanager
def leased(twin: Twin) -> Iterator[None]:
    """Hold the remote folder, bring what is there, and copy what is new while the body runs and once more at its end.

    Raises:
        StorageError: the place refuses, or another process works on it.
        DataError: what is there was damaged.
    """
    location = twin.location
    lease = Lease(location)
    with refusals(location):
        location.files.makedirs(location.root, exist_ok=True)
        lease.take()
    try:
        with refusals(location):
            twin.pull()
        stop = threading.Event()
        copier = threading.Thread(target=_copy, args=(twin, lease, stop), name="copy to the store", daemon=True)
        copier.start()
        try:
            yield
        finally:
            stop.set()
            copier.join()
            with refusals(location, f"; what was computed is in {twin.local}"):
                twin.push()
    finally:
        with refusals(location):
            lease.give_back()


def _copy(twin: Twin, lease: Lease, stop: threading.Event) -> None:
    warned = False
    while not stop.wait(PERIOD):
        try:
            lease.renew()
            twin.push()
            warned = False
        except Exception as error:  # whatever a file system raises: the work goes on, and the next round tries again
            if not warned:
                logger.warning("cannot copy to %s now: %s; the next rounds try again", twin.location.url, error)
            warned = True
