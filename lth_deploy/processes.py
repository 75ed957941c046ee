"""Python processes that this one starts: they never run code of the working folder, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"
"""With this variable Python leaves the working folder and the folder of a script out of `sys.path`."""


def python(*arguments: str) -> list[str]:
    """The command line of this interpreter; with -m MODULE or -c CODE, no module of the working folder is imported."""
    return [sys.executable, "-P", *arguments]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child, which hands the safe path on to what the child starts."""
    return {**os.environ, SAFE_PATH: "1", **(variables or {})}


def keep_working_folder_out() -> None:
    """Let every process that this one starts from now on leave the working folder out of `sys.path`.

    This reaches those that libraries start: workers of `multiprocessing` import from the working folder otherwise.
    """
    os.environ[SAFE_PATH] = "1"


def run_tied(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `command`, a program that calls `end_with_parent`, and wait for its end with all that it prints.

    Raises:
        TimeoutExpired: it took more than `timeout` seconds, and was ended.
        OSError: it cannot be started.
    """
    read, write = os.pipe()
    try:
        return subprocess.run(
            list(command),
            stdin=read,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment(),
            start_new_session=True,
        )
    finally:
        os.close(read)
        os.close(write)


def run_program(command: Sequence[str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program that is not Python in `folder`, with no input, and wait for its end with all that it prints.

    Raises:
        TimeoutExpired: it took more than `timeout` seconds, and was ended.
        OSError: it cannot be started.
    """
    return subprocess.run(
        list(command),
        stdin=subprocess.DEVNULL,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def end_with_parent() -> None:
    """End this process and its group once the other end of the standard input is closed, as a parent's death does.

    The process must lead a group of its own.
    """
    threading.Thread(target=_wait, name="end with the parent", daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
