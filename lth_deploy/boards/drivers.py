"""Ways to run a program on a board: this machine itself, ssh, adb.

A driver turns a script and its arguments into a command of this machine. Scripts are constants of this package; what
comes from users or boards is only ever an argument, and must be of few characters. The standard streams of the command
are those of the script, which is all that copying files and measuring need.
"""

import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lth_deploy.errors import BoardError, UsageError

LOCAL = "local"
ADB = "adb"

_ARGUMENT = re.compile(r"[A-Za-z0-9_@%+=:,./~-]+")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]*)?")
_SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")

_SSH_OPTIONS = (
    "BatchMode=yes",  # nobody is there to answer a question
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
)
_SSH_REFUSALS = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key is another one than before; if that is right, remove the "
    "old one with ssh-keygen -R",
    "Host key verification failed": "its host key is not known here; log in once by hand with ssh, compare the key and "
    "accept it",
    "Permission denied": "it refuses the login; ssh must get in without a question, for instance with ssh-copy-id",
    "Could not resolve hostname": "no machine of this name is known; correct the name or ~/.ssh/config",
    "Connection refused": "nothing listens there for ssh; switch its ssh server on",
    "No route to host": "there is no way to it; switch it on and look at the network",
    "timed out": "it does not answer; switch it on and look at the network",
}
_ADB_REFUSALS = {
    "unauthorized": "it has not allowed debugging from this machine; accept the question on its screen",
    "no devices": "no device is connected",
    "offline": "the device is offline; plug it in again",
    "not found": "no such device is connected; `adb devices` lists them",
}


class Driver(Protocol):
    """A way to one board."""

    @property
    def host(self) -> str:
        """As the user names it."""

    @property
    def folder(self) -> str:
        """Where programs and models are kept there unless the user says it; relative to where scripts start."""

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """What to run here so that the board's sh runs `script`, in which "$@" are the arguments.

        Raises:
            UsageError: an argument has characters that are not sent to a board.
        """

    def refusal(self, status: int, said: str) -> str | None:
        """In words why a command that ended with `status` did not reach the board; None where it did."""


@dataclass(frozen=True)
class LocalDriver:
    """This machine, by the same scripts."""

    host: str = LOCAL
    folder: str = ".cache/lth_deploy/board"

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """See `Driver`; scripts start in the home folder, as they do elsewhere."""
        return ["/bin/sh", "-c", f"cd && {script}", "lth", *checked(arguments)]

    def refusal(self, status: int, said: str) -> str | None:
        """It is always reached."""
        return None


@dataclass(frozen=True)
class SshDriver:
    """The system's own ssh, with the keys, jump hosts and configuration of the user."""

    host: str
    folder: str = ".cache/lth_deploy/board"

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """See `Driver`."""
        options = [part for option in _SSH_OPTIONS for part in ("-o", option)]
        return [_program("ssh", "openssh-client"), "-T", *options, "--", self.host, quoted(script, arguments)]

    def refusal(self, status: int, said: str) -> str | None:
        """See `Driver`; ssh itself fails with 255."""
        return _refusal(said, _SSH_REFUSALS) if status == 255 else None


@dataclass(frozen=True)
class AdbDriver:
    """An Android device; serial: which one, "" where there is one only."""

    host: str
    serial: str = ""
    folder: str = "/data/local/tmp/lth_deploy"

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """See `Driver`."""
        device = ["-s", self.serial] if self.serial else []
        return [_program("adb", "adb"), *device, "shell", "-T", quoted(script, arguments)]

    def refusal(self, status: int, said: str) -> str | None:
        """See `Driver`; adb has no status of its own, but begins its messages with its name or `error:`."""
        own = said.strip().startswith(("adb: ", "error: ", "* daemon"))
        return _refusal(said, _ADB_REFUSALS) if status and own else None


def driver_of(host: str) -> Driver:
    """The way to a host: `local`, `adb`, `adb:SERIAL`, or whatever ssh takes as NAME or USER@NAME.

    Raises:
        UsageError: no name of a host.
    """
    if host == LOCAL:
        return LocalDriver()
    kind, _, serial = host.partition(":")
    if kind == ADB and (_SERIAL.fullmatch(serial) or host == ADB):
        return AdbDriver(host, serial)
    if not _HOST.fullmatch(host):
        raise UsageError(f"--host {host}: write USER@NAME or a name from ~/.ssh/config, `local`, `adb` or adb:SERIAL")
    return SshDriver(host)


def checked(arguments: Sequence[str]) -> list[str]:
    """The arguments themselves.

    Raises:
        UsageError: one has other characters than letters, digits and those of paths, or none.
    """
    for argument in arguments:
        if not _ARGUMENT.fullmatch(argument):
            raise UsageError(
                f"{argument!r} is not sent to a board: only letters, digits and _ @ % + = : , . / ~ - are; choose "
                "another name"
            )
    return list(arguments)


def quoted(script: str, arguments: Sequence[str]) -> str:
    """One string for the login shell of a board, whichever it is: all of it in single quotes."""
    assert "\n" not in script
    assert "!" not in script, "csh replaces it even in quotes"
    return shlex.join(["sh", "-c", script, "lth", *checked(arguments)])


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BoardError(f"the program {name} is not installed here; install it, for instance: apt install {package}")
    return found


def _refusal(said: str, known: Mapping[str, str]) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = next((text for sign, text in known.items() if sign in said), None)
    return words or (lines[-1] if lines else "the connection ended")


Open = Callable[[str], Driver]
