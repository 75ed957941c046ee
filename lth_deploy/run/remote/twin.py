"""A local folder and its remote twin: files go there when their bytes have changed."""

import hashlib
from pathlib import Path

from lth_deploy import storage
from lth_deploy.run.remote.lease import LEASE
from lth_deploy.run.remote.location import Location


class Twin:
    """What is known of the remote files, by digest; `push` of a subclass says which files go there."""

    def __init__(self, location: Location, local: Path) -> None:
        self.location, self.local = location, local
        self._known: dict[str, str] = {}
        self._touched: dict[str, tuple[int, int, int]] = {}

    def push(self) -> None:
        """Copy what is new to the remote folder."""
        raise NotImplementedError

    def pull(self) -> None:
        """Bring what is needed of the remote folder."""
        raise NotImplementedError

    def _get(self, key: str) -> None:
        data: bytes = self.location.files.cat_file(self.location.path(key))
        self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        storage.write_bytes(self.local / key, data)
        self._known[key] = hashlib.sha256(data).hexdigest()

    def _put_if_touched(self, file: Path) -> None:
        """Copy a file that no manifest lists; unread where it is as it was in the last round."""
        try:
            found = file.stat()
        except FileNotFoundError:
            return
        key, state = self._key(file), (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._known.get(key) is None or self._touched.get(key) != state:
            self._put(file, self._bytes(file))
            self._touched[key] = state

    def _put(self, file: Path, data: bytes) -> None:
        key, digest = self._key(file), hashlib.sha256(data).hexdigest()
        if self._known.get(key) == digest:
            return
        self.location.write(key, data)
        self._known[key] = digest

    def _key(self, file: Path) -> str:
        return str(file.relative_to(self.local))

    def _bytes(self, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return b""

    def _name(self, path: str) -> str | None:
        """The name of a remote file below the folder; None for one that no run of ours has, and for the lease."""
        name = self.location.name_of(path)
        return name if name != LEASE else None
