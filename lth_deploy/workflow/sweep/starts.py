"""The start file of a row: written where the row runs, when it begins; until then it waits in a cluster's queue."""

import json
import os
import socket
from pathlib import Path

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.run.remote.place_files import delete_file, inside, write_file
from lth_deploy.run.remote.sweep_mirror import STARTS


def start_file(sweep: str | Path, row: str) -> str:
    """Where it is, of a row of the sweep in the folder or at the URL `sweep`."""
    return inside(sweep, STARTS, f"{row}.json")


def note_start(file: str) -> None:
    """Say that the row begins on this machine.

    Raises:
        StorageError: the disk or the store refuses.
    """
    write_file(file, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode())


def forget_start(file: str) -> None:
    """Say that the row waits: it was handed out, or its machine was taken away.

    Raises:
        StorageError: the disk or the store refuses.
    """
    delete_file(file)


def host_of_start(file: Path) -> str | None:
    """The machine that the row began on; None while it waits, "" where the file does not say it."""
    if not file.is_file():
        return None
    try:
        return str(storage.read_json(file)["host"])
    except (DataError, TypeError, KeyError):
        return ""
