"""One writer at a time in a remote folder: a file that is created where there is none, and renewed during the work."""

import json
import os
import secrets
import socket
import time
from typing import Any

from lth_deploy.errors import StorageError
from lth_deploy.run.remote.location import Location

LEASE = ".lease"
EXPIRES = 600.0
"""Seconds after which a lease that nobody renewed is free."""
RENEW = 60.0


class Lease:
    """The lease of a folder, held by this process."""

    def __init__(self, location: Location) -> None:
        self._location, self._path = location, location.path(LEASE)
        self._token = secrets.token_hex(8)
        self._renewed = 0.0

    def take(self) -> None:
        """Take the lease.

        Raises:
            StorageError: another process holds it, or the place cannot create a file only where there is none.
        """
        files = self._location.files
        for _ in range(2):
            try:
                files.pipe_file(self._path, self._content(), mode="create")
                self._renewed = time.monotonic()
                return
            except FileExistsError:
                self.require_free()
                files.rm_file(self._path)
            except (NotImplementedError, TypeError) as error:
                raise StorageError(
                    f"{self._location.url}: its file system cannot create a file only where there is none, so two "
                    "searches could write there; choose another place"
                ) from error
        raise StorageError(f"{self._location.url}: another process took the folder just now; wait for it")

    def require_free(self) -> None:
        """Hold that no living process works in the folder.

        Raises:
            StorageError: one does.
        """
        holder = self._holder()
        if not _is_free(holder):
            where = f"{holder.get('host', 'another machine')}, process {holder.get('process', '?')}"
            raise StorageError(f"{self._location.url} is worked on by {where}; wait for it, or use another --out")

    def renew(self) -> None:
        """Say that this process still works; often enough, and not more often.

        Raises:
            StorageError: another process has taken the folder, because this one was silent for too long.
        """
        if time.monotonic() - self._renewed < RENEW:
            return
        if self._holder().get("token") != self._token:
            raise StorageError(f"{self._location.url} was taken by another process; this one stops writing there")
        self._location.files.pipe_file(self._path, self._content())
        self._renewed = time.monotonic()

    def give_back(self) -> None:
        """Free the folder."""
        if self._holder().get("token") == self._token:
            self._location.files.rm_file(self._path)

    def _content(self) -> bytes:
        known = {"host": socket.gethostname(), "process": os.getpid(), "token": self._token, "time": time.time()}
        return json.dumps(known).encode()

    def _holder(self) -> dict[str, Any]:
        try:
            value = json.loads(self._location.files.cat_file(self._path)[:4096])
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


def _is_free(holder: dict[str, Any]) -> bool:
    """Whether nobody renewed a lease, or its process on this machine is gone."""
    since, process = holder.get("time"), holder.get("process")
    if not isinstance(since, int | float) or time.time() - since > EXPIRES:
        return True
    return holder.get("host") == socket.gethostname() and isinstance(process, int) and not _lives(process)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
