"""Writing files so that a crash at any moment leaves either the old file or the new one."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lth_deploy.errors import DataError, StorageError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it into place.

    Raises:
        StorageError: the disk is full or refuses the write; the previous file is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with disk_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        finally:
            # A disk that refuses the write may refuse this too, which must not hide the first fault.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the refusals of a disk into one error that begins with `what`.

    Raises:
        StorageError: the operating system refused something inside the block.
    """
    try:
        yield
    except OSError as error:
        raise _refusal(what, error.errno, error.strerror or str(error)) from error
    except SafetensorError as error:
        # safetensors reports a full disk in words only, with the number of the operating system's error.
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise _refusal(what, int(code[1]), os.strerror(int(code[1]))) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Atomic `Path.write_bytes`."""
    write_atomically(path, lambda temporary: _write_all(temporary, data))


def write_text(path: Path, text: str) -> None:
    """Atomic `Path.write_text` in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Atomic, indented JSON; NaN and infinities are refused because JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


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


@contextlib.contextmanager
def locked(directory: Path, name: str = ".lock") -> Iterator[None]:
    """Hold `directory` for this process; the operating system lets go when the process ends, however it does.

    Raises:
        StorageError: another process holds it.
    """
    with disk_errors(f"cannot lock {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / name).open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another process is working on {directory}; wait for it or use another --out"
            ) from error
        yield


def remove_stale_temporaries(directory: Path) -> None:
    """Delete what a killed process left behind under `directory`."""
    for leftover in directory.rglob(".*.tmp-*"):
        leftover.unlink(missing_ok=True)


def _refusal(what: str, code: int | None, reason: str) -> StorageError:
    advice = {
        errno.ENOSPC: "free some disk space and resume",
        errno.EDQUOT: "free some of your quota and resume",
        errno.EACCES: "choose a folder that you may write to",
        errno.EROFS: "choose a folder that you may write to",
        errno.EEXIST: "a file is where a folder is needed; choose another place",
        errno.ENOTDIR: "a file is where a folder is needed; choose another place",
        errno.EISDIR: "a folder is where the file should be; choose another place",
    }
    return StorageError(f"{what}: {reason}; {advice.get(code or 0, 'check the disk and the path')}")


def _write_all(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
