"""Writing files so that a crash at any moment leaves either the old file or the new one."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from lth_deploy.disk.locks import LOCK, locked, remove_empty_locked
from lth_deploy.disk.refusals import disk_errors
from lth_deploy.disk.temporaries import beside, private_folder, remove_stale_temporaries, scratch
from lth_deploy.errors import DataError, StorageError

__all__ = [
    "LOCK",
    "append_line",
    "create_bytes",
    "disk_errors",
    "locked",
    "open_to_append",
    "private_folder",
    "read_json",
    "remove_empty_locked",
    "remove_stale_temporaries",
    "require_space",
    "scratch",
    "sha256",
    "sync_directory",
    "sync_file",
    "write_atomically",
    "write_bytes",
    "write_json",
    "write_text",
]

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file in a private temporary folder beside `path`, sync it, and rename it into place.

    The file gets the rights of a new file, as the umask says. A symbolic link at `path` is replaced, not followed.

    Raises:
        StorageError: the disk is full or refuses the write; the previous file is untouched.
    """
    with disk_errors(f"cannot write {path}"), _written(path, write) as temporary:
        temporary.replace(path)
        sync_directory(path.parent)


def create_bytes(path: Path, data: bytes) -> bool:
    """Write a new file, whole from its first moment; False where something is there already, which stays untouched.

    Raises:
        StorageError: the disk is full or refuses the write.
    """
    with disk_errors(f"cannot write {path}"), _written(path, lambda file: _write_all(file, data)) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _create_alone(path, data)
        sync_directory(path.parent)
    return True


def _create_alone(path: Path, data: bytes) -> bool:
    """For file systems without hard links: the file is not whole until all of it is written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)
    return True


@contextlib.contextmanager
def _written(path: Path, write: Callable[[Path], None]) -> Iterator[Path]:
    """A synced temporary file with the rights that a new file would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as folder:
        temporary = folder / path.name
        # The system applies the umask to the first file; what `write` puts in its place may have other rights.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        rights = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        write(temporary)
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, rights)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield temporary


def write_bytes(path: Path, data: bytes) -> None:
    """Atomic `Path.write_bytes`."""
    write_atomically(path, lambda temporary: _write_all(temporary, data))


def write_text(path: Path, text: str) -> None:
    """Atomic `Path.write_text` in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Atomic, indented JSON; NaN and infinities are refused because JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_line(path: Path, line: bytes) -> None:
    """Add one line to a file; a torn last line, left by a kill, is cut off first. A symbolic link is not followed.

    Raises:
        StorageError: the disk is full or refuses.
    """
    with disk_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(_open_to_append(path), "ab+") as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.seek(0)
                    handle.truncate(handle.read().rfind(b"\n") + 1)
            handle.write(line + b"\n")


def open_to_append(path: Path) -> TextIO:
    """A text file in UTF-8 that lines are added to. A symbolic link is not followed.

    Raises:
        OSError: the disk refuses.
    """
    return os.fdopen(_open_to_append(path), "a", encoding="utf-8")


def _open_to_append(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: the file is missing, not UTF-8, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path} as JSON: {error}") from error


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require_space(path: Path, needed: int) -> None:
    """Refuse before work starts when the disk under `path` has fewer than `needed` bytes free.

    Raises:
        StorageError: too little space.
    """
    with disk_errors(f"cannot use the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path).free
    if free < needed:
        raise StorageError(f"{path} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed; free some space")


def sync_directory(directory: Path) -> None:
    """Make renames in a folder last through a loss of power."""
    _sync(directory, os.O_DIRECTORY)


def sync_file(file: Path) -> None:
    """Make the content of a file last through a loss of power; a symbolic link is not followed."""
    _sync(file, os.O_NOFOLLOW)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(path: Path, data: bytes) -> None:
    path.write_bytes(data)
