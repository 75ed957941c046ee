"""An ssh server on 127.0.0.1 with keys made for the test, and an `ssh` that finds it."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.waiting import has_ended, wait_until

SERVER = next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).is_file()), None)
PRIVILEGE_FOLDER = Path("/run/sshd")
ALIAS = "loopback-board"


@dataclass
class Loopback:
    """folder: of its keys. variables: of the environment of those who log in. process: the server."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@{ALIAS}"

    def start(self) -> None:
        """Listen where it listened before, or at another port where another process has taken that one meanwhile."""
        assert SERVER is not None
        for _ in range(10):
            log = self.folder / "log"
            log.unlink(missing_ok=True)
            self.process = subprocess.Popen(
                [SERVER, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(log)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if wait_until(partial(_listens, self.process, log), "the start of an ssh server") == "yes":
                return
            self.port = configured(self.folder)
        raise AssertionError(log.read_text())

    def cut(self) -> int:
        """Kill what serves the sessions that are open now; how many there were."""
        assert self.process is not None
        found = children(self.process.pid)
        for child in found:
            os.kill(child, signal.SIGKILL)
        return len(found)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(300)
            finally:
                self.process.kill()


def _listens(server: "subprocess.Popen[bytes]", log: Path) -> str:
    """Whether it does: yes, no once it has ended, and nothing while that is open."""
    if server.poll() is not None:
        return "no"
    return "yes" if log.exists() and "Server listening on 127.0.0.1" in log.read_text(errors="replace") else ""


def children(parent: int) -> list[int]:
    """Processes that a process has started and that have not ended."""
    with suppress(psutil.NoSuchProcess):
        return [one.pid for one in psutil.Process(parent).children() if not has_ended(one.pid)]
    return []


def loopback(folder: Path) -> Loopback:
    """Keys, and the configuration of both sides; the server is not started yet."""
    missing = [tool for tool in ("ssh", "ssh-keygen") if shutil.which(tool) is None] + ([] if SERVER else ["sshd"])
    if missing:
        reason = f"no {', '.join(missing)} here: apt-get install openssh-server openssh-client"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    if os.getuid() == 0:
        PRIVILEGE_FOLDER.mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=300
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    real = shutil.which("ssh")
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {real} -F {folder}/ssh_config "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    return Loopback(folder, configured(folder))


def configured(folder: Path) -> int:
    """Write the configuration of both sides with a port that is free at this moment; sshd takes no port 0."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nPidFile {folder}/pid\n"
    )
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "ssh_config").write_text(
        f"Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    )
    return port
