"""One process at a time in a folder.

Everything that writes more than one file into a folder takes its lock first, then looks at what is there, then writes.
A single file needs no lock: it is replaced in one step (`write_atomically`). Readers take no lock either.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lth_deploy.disk.refusals import disk_errors
from lth_deploy.errors import LthError, StorageError

LOCK = ".lock"
"""Name of the lock file."""

_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def locked(directory: Path, look: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold `directory` for this process; the operating system releases it when the process ends, however it does.

    look: raises an LthError where the directory holds something that must stay as it is. It is called with the lock
    held, and once before, so that nothing at all is written into the folder of something else.

    Raises:
        StorageError: another process holds it, or the lock file cannot be made.
    """
    try:
        look()
    except LthError:
        # A process that begins its work there makes the lock file first.
        if not (directory / LOCK).exists():
            raise
    with disk_errors(f"cannot lock {directory}"):
        descriptor = _acquired(directory)
    try:
        look()
        yield
    finally:
        os.close(descriptor)


def remove_empty_locked(directory: Path, *, keep: bool = False) -> None:
    """Delete a folder that this process holds, if nothing but the lock file is in it; with `keep`, the lock file only.

    Raises:
        OSError: the folder cannot be read.
    """
    if [file.name for file in directory.iterdir()] == [LOCK]:
        (directory / LOCK).unlink()
        if keep:
            return
        with contextlib.suppress(OSError):  # another process has made its lock file there in the meantime
            directory.rmdir()


def is_same_file(path: Path, descriptor: int) -> bool:
    """Whether an open file or folder still has this name."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _acquired(directory: Path) -> int:
    """Descriptor of the locked file. A lock on a file that was deleted with its folder protects nothing: once more."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = _open(directory / LOCK)
        except FileNotFoundError:
            continue
        try:
            _lock(descriptor, directory)
            if is_same_file(directory / LOCK, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(file: Path) -> int:
    try:
        return os.open(file, _WRITE, 0o666)
    except PermissionError as refusal:
        # The lock file of another user of the same folder can be locked without being written to.
        try:
            return os.open(file, _READ)
        except FileNotFoundError:
            raise refusal from None


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(f"another process is working on {directory}; wait for it or use another --out") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise StorageError(
            f"cannot lock {directory}: its file system has no locks; choose a folder on another one"
        ) from error
