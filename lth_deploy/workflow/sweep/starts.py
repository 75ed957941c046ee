"""The start file of a row: written where the row runs, when it begins; until then it waits in a cluster's queue."""

import os
import socket
from pathlib import Path

from lth_deploy import storage
from lth_deploy.errors import DataError

_FOLDER = "starts"


def start_file(sweep: Path, row: str) -> Path:
    """Where it is, of a row of the sweep in the folder `sweep`."""
    return sweep / _FOLDER / f"{row}.json"


def note_start(file: Path) -> None:
    """Say that the row begins on this machine.

    Raises:
        StorageError: the disk refuses.
    """
    storage.write_json(file, {"host": socket.gethostname(), "process": os.getpid()})


def forget_start(file: Path) -> None:
    """Say that the row waits: it was handed out, or its machine was taken away.

    Raises:
        StorageError: the disk refuses.
    """
    with storage.disk_errors(f"cannot delete {file}"):
        file.unlink(missing_ok=True)


def host_of_start(file: Path) -> str | None:
    """The machine that the row began on; None while it waits, "" where the file does not say it."""
    if not file.is_file():
        return None
    try:
        return str(storage.read_json(file)["host"])
    except (DataError, TypeError, KeyError):
        return ""
