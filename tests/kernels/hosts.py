"""Builds of the C++ host, kept in the checkout's build folder so that only what changed is compiled again."""

import os
import subprocess
from pathlib import Path

from tests.cross import PROJECT, cmake_build

_FLAGS = {"plain": [], "address": ["-DLTH_SANITIZE=address,undefined"], "thread": ["-DLTH_SANITIZE=thread"]}


def build_host(kind: str) -> Path:
    """The host, built plainly or with sanitizers: plain, address or thread."""
    folder = PROJECT / "build" / f"host-{kind}"
    cmake_build(PROJECT / "lth_deploy" / "kernels", folder, "-DLTH_HOST=ON", "-DLTH_WERROR=ON", *_FLAGS[kind])
    return folder / "lth_host"


def run_host(host: Path, *arguments: object, folder: Path | None = None, isa: str | None = None) -> str:
    """What the host prints; it must end well, which under sanitizers says that they found nothing."""
    environment = {key: value for key, value in os.environ.items() if key != "LTH_ISA"}
    if isa is not None:
        environment["LTH_ISA"] = isa
    done = subprocess.run(
        [str(host), *map(str, arguments)], capture_output=True, text=True, timeout=1800, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout
