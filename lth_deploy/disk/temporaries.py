"""Temporary folders with unpredictable names, private to this user, and deleted after the death of their process.

A process holds a lock on each of its temporary folders. The system releases it when the process ends, so a folder
whose lock is free was left behind by a process that was killed, and the next one deletes it.
"""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lth_deploy.disk.interrupts import deferred_interrupts
from lth_deploy.disk.locks import is_same_file
from lth_deploy.disk.refusals import disk_errors

_INFIX = ".tmp-"
_TOKEN = re.compile(r"\..*\.tmp-[A-Za-z0-9_]+", re.DOTALL)
_LONGEST = 200
"""Bytes of a file's name that its temporary folder is named after; file systems take 255."""

_SCRATCH = "lth-deploy-"
_MARK = ".lth-scratch"
"""File that tells a scratch folder of this program from one of the user's with such a name."""


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A private folder on the file system of `path`, in the same folder as it; deleted at the end.

    Raises:
        OSError: the folder cannot be made.
    """
    _sweep_once(path.parent.absolute())
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
    with _held(f".{name}{_INFIX}", path.parent) as folder:
        yield folder


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A private folder in TMPDIR for files that nobody keeps; `purpose` is part of its name.

    Scratch folders of this user's dead processes are deleted first.

    Raises:
        StorageError: the folder cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _remove_dead_scratch(parent)
    with contextlib.ExitStack() as stack:
        with disk_errors(f"cannot make a temporary folder in {parent}"):
            folder = stack.enter_context(_held(f"{_SCRATCH}{purpose}-", parent))
            (folder / _MARK).touch()
        yield folder


def make_scratch_in(parent: Path) -> None:
    """From now on, scratch folders of this process are made in `parent`, which another process deletes."""
    tempfile.tempdir = str(parent)


@contextlib.contextmanager
def private_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent` that only this user can enter; deleted at the end.

    Raises:
        StorageError: the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        with disk_errors(f"cannot make a folder in {parent}"):
            folder = stack.enter_context(_held(prefix, parent))
        yield folder


def remove_stale_temporaries(directory: Path, *, below: bool = True) -> None:
    """Delete what writers that were killed left in `directory`, which the caller has locked, and anywhere below it."""
    for folder, names, files in os.walk(directory):
        for name in [name for name in names if _TOKEN.fullmatch(name)]:
            names.remove(name)
            _remove_if_dead(Path(folder, name))
        # Earlier versions wrote files instead of folders, named after the number of the process.
        for name in [name for name in files if _TOKEN.fullmatch(name)]:
            with contextlib.suppress(OSError):
                Path(folder, name).unlink()
        if not below:
            return


@functools.lru_cache(maxsize=1024)
def _sweep_once(directory: Path) -> None:
    """Delete what killed writers left in `directory` itself: once a process, since a folder may have many files."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        dead = [entry.path for entry in entries if _TOKEN.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
        for path in dead:
            _remove_if_dead(Path(path))


def _remove_dead_scratch(parent: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(_SCRATCH) and _is_own_scratch(Path(entry.path)):
                _remove_if_dead(Path(entry.path))


def _is_own_scratch(folder: Path) -> bool:
    try:
        found, mark = folder.lstat(), (folder / _MARK).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_ISREG(mark.st_mode)


@contextlib.contextmanager
def _held(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder that this process holds, deleted at the end."""
    made: tuple[Path, int] | None = None
    try:
        with deferred_interrupts():
            made = _make(prefix, parent)
        yield made[0]
    finally:
        if made is not None:
            with deferred_interrupts():
                # A disk that refuses the write may refuse this too, which must not hide the first fault.
                shutil.rmtree(made[0], ignore_errors=True)
                os.close(made[1])


def _make(prefix: str, parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = _open(folder)
        except FileNotFoundError:
            continue  # another process has deleted it, before it was held
        # A file system without locks keeps what a killed process leaves, and nothing else goes wrong.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_same_file(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove_if_dead(folder: Path) -> None:
    """Delete a temporary folder unless a process holds it."""
    with contextlib.suppress(OSError):
        descriptor = _open(folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
