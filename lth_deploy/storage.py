"""Writing files so that a crash at any moment leaves either the old file or the new one."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lth_deploy.errors import DataError, StorageError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it into place.

    Raises:
        StorageError: the disk is full or refuses the write; the previous file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}"
            + ("; free some disk space and resume" if error.errno == errno.ENOSPC else "")
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


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
    path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path).free
    if free < needed:
        raise StorageError(
            f"{path} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed; free some space"
        )


def remove_stale_temporaries(directory: Path) -> None:
    """Delete what a killed process left behind under `directory`."""
    for leftover in directory.rglob(".*.tmp-*"):
        leftover.unlink(missing_ok=True)


def _write_all(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
