"""Python processes that this one starts: they never run code of the working folder, and never outlive their parent."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr

SAFE_PATH = "PYTHONSAFEPATH"
"""With this variable Python leaves the working folder and the folder of a script out of `sys.path`."""

_ending = threading.Lock()
"""Held from the look whether a group is still there until it is not."""


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
        TimeoutExpired: it took more than `timeout` seconds, and was ended with what it had started.
        OSError: it cannot be started.
    """
    read, write = os.pipe()
    try:
        return _ended(
            subprocess.Popen(
                list(command),
                stdin=read,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment(),
                start_new_session=True,
            ),
            timeout,
        )
    finally:
        os.close(read)
        os.close(write)


def run_program(command: Sequence[str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program that is not Python in `folder`, with no input, and wait for its end with all that it prints.

    Raises:
        TimeoutExpired: it took more than `timeout` seconds, and was ended with what it had started.
        OSError: it cannot be started.
    """
    return _ended(
        subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=folder,
            start_new_session=True,
        ),
        timeout,
    )


def run_foreign(command: Sequence[str], source: IO[bytes] | None, timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program that works elsewhere, such as ssh, with a file as its input; its end with all that it prints.

    Its session is its own: Ctrl-C is for this process, which ends it.

    Raises:
        TimeoutExpired: it took more than `timeout` seconds, and was ended with what it had started.
        OSError: it cannot be started.
    """
    return _ended(
        subprocess.Popen(
            list(command),
            stdin=source or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        ),
        timeout,
    )


def _ended(process: "subprocess.Popen[AnyStr]", timeout: float) -> "subprocess.CompletedProcess[AnyStr]":
    """Wait for the end of a program that leads a group, with all that it prints; an exception ends the group.

    Raises:
        TimeoutExpired: it took more than `timeout` seconds.
    """
    with process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            end_group(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_foreign(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """As `run_foreign`, of a program that goes on; its three standard streams are pipes.

    Raises:
        OSError: it cannot be started.
    """
    return _started(command, subprocess.PIPE)


def start_reader(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a program that only prints: its output is a pipe, its input is empty, its error output is discarded.

    It leads a group of its own, which `end_group` ends.

    Raises:
        OSError: it cannot be started.
    """
    return _started(command, subprocess.DEVNULL)


def _started(command: Sequence[str], input_and_errors: int) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own; its standard output is a pipe."""
    return subprocess.Popen(
        list(command),
        stdin=input_and_errors,
        stdout=subprocess.PIPE,
        stderr=input_and_errors,
        env=environment(),
        start_new_session=True,
    )


def wait_for_leader(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a program that leads a group ends by itself, in such a way that `end_group` still knows its group."""
    with contextlib.suppress(ChildProcessError):  # another thread has ended it
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def has_ended(process: "subprocess.Popen[Any]") -> bool:
    """Whether a program that leads a group has ended by itself; `end_group` still knows its group then."""
    with contextlib.suppress(ChildProcessError):  # another thread has ended it
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return True


def end_group(process: "subprocess.Popen[Any]") -> int:
    """End a program that leads a group, and what it has started, also where it has ended before; its exit status.

    Nothing else may poll it or wait for it: once its end is noted, the system may give its number to another.
    """
    with _ending:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def end_any_group(process: "subprocess.Popen[Any]", seconds: float) -> int | None:
    """As `end_group`, also of a program that another user runs, as with `sudo`, and that this one may not end.

    It has some seconds to end by itself, as it does when it prints into a pipe that nobody reads any more; None where
    it goes on.
    """
    with _ending:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def end_with_parent() -> None:
    """End this process and its group once the other end of the standard input is closed, as a parent's death does.

    The process must lead a group of its own.
    """
    threading.Thread(target=_wait, name="end with the parent", daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
