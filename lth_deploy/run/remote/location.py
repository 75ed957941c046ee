"""A place such as s3://bucket/run, as a file system of fsspec with a path."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import LthError, MissingExtraError, StorageError, UsageError

WHOLE_FILES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory", "file", "local")
"""Protocols in which a file appears whole or not at all, and that can create one only where there is none."""
LOCAL_COPIES = "LTH_REMOTE_CACHE"
_NAME = re.compile(r"[A-Za-z0-9_.+ -]*[A-Za-z0-9_+-]")


def is_remote(place: str) -> bool:
    """Whether a place is a URL, and no path."""
    return "://" in place


@dataclass(frozen=True)
class Location:
    """A folder of a file system of fsspec."""

    url: str
    files: Any
    root: str

    def path(self, name: str) -> str:
        """The path of a file below the folder."""
        return f"{self.root}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Put a file below the folder in one step."""
        if self._is_plain_disk:
            storage.write_bytes(Path(self.path(name)), data)
        else:
            self.files.pipe_file(self.path(name), data)

    @property
    def _is_plain_disk(self) -> bool:
        protocol = self.files.protocol
        return "file" in (protocol if isinstance(protocol, tuple | list) else [protocol])

    def name_of(self, path: str) -> str | None:
        """The name of a remote file below the folder; None for one that no run of ours has."""
        name = path.removeprefix(self.root).lstrip("/")
        return name if is_sound(name) else None

    @property
    def local(self) -> Path:
        """The folder of this machine that the work happens in."""
        base = os.environ.get(LOCAL_COPIES) or Path.home() / ".cache" / "lth-deploy" / "remote"
        last = self.root.rstrip("/").rpartition("/")[2] or "run"
        return Path(base) / f"{last}-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"


def is_sound(name: str) -> bool:
    """Whether a name with slashes is one of files that runs have, and leads out of no folder."""
    return all(_NAME.fullmatch(part) and part not in (".", "..") for part in name.split("/"))


@contextmanager
def refusals(location: Location, more: str = "") -> Iterator[None]:
    """What a remote file system raises, as one sentence.

    Raises:
        StorageError: it refused.
    """
    try:
        yield
    except LthError:
        raise
    except Exception as error:  # every file system of fsspec has errors of its own
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StorageError(
            f"{location.url} refused: {said}; check the address, the rights and the connection, and go on with "
            f"--resume{more}"
        ) from error


def location_of(url: str) -> Location:
    """The folder at `url`.

    Raises:
        UsageError: files of that kind of place cannot be replaced in one step.
        MissingExtraError: fsspec is not installed.
        StorageError: the place cannot be reached.
    """
    protocol, _, rest = url.partition("://")
    if protocol not in WHOLE_FILES:
        raise UsageError(
            f"{url}: a file in a place of kind '{protocol}' may be seen half-written; choose one of "
            f"{', '.join(WHOLE_FILES)}, or a folder of a disk"
        )
    if not rest.strip("/"):
        raise UsageError(f"{url} names no folder; write it as {protocol}://BUCKET/FOLDER")
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("fsspec", "remote", f"{protocol}://...") from error
    try:
        files, root = fsspec.core.url_to_fs(url.rstrip("/"), use_listings_cache=False)
    except ImportError as error:
        raise StorageError(
            f"{url}: {error}; fsspec has a package for each kind of place, for S3: pip install 'lth-deploy[s3]'"
        ) from error
    except Exception as error:
        raise StorageError(f"{url} cannot be opened: {type(error).__name__}: {str(error)[:300]}") from error
    return Location(url.rstrip("/"), files, root.rstrip("/"))
