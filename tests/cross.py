"""Building C++ here and for 64-bit ARM, and running it on this machine, for the tests that need it."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from lth_deploy import storage
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[1]
TOOLCHAIN = PROJECT / "lth_deploy" / "kernels" / "cmake" / "aarch64-linux-gnu.cmake"
EMULATOR = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
_TOOLS = ("aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump", "qemu-aarch64", "cmake")


def needs_cross_tools() -> None:
    """Skips where a tool is missing; in CI, which installs them, that is a failure."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        reason = f"no {', '.join(missing)} here: apt-get install g++-aarch64-linux-gnu qemu-user; pip install cmake"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def cmake_build(source: Path, folder: Path, *options: str) -> Path:
    """Configures and builds; the folder is kept, so that only what changed is compiled again."""
    assert shutil.which("cmake") is not None, "building needs cmake: pip install cmake"
    configure = ["cmake", "-S", str(source), "-B", str(folder), *options]
    with one_at_a_time(folder):
        for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """What tests of several files make in a folder is made by one process after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        wait_until(lambda: _taken(lock), f"the end of another process's work in {folder}", 3600)
        yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cross_build(source: Path, name: str, *options: str) -> Path:
    """`cmake_build` for 64-bit ARM."""
    return cmake_build(source, PROJECT / "build" / name, f"--toolchain={TOOLCHAIN}", *options)


def kernels_for_arm() -> Path:
    """The folder with the kernel library for 64-bit ARM and the host of the tests, built together."""
    needs_cross_tools()
    return cross_build(PROJECT / "lth_deploy" / "kernels", "host-aarch64", "-DLTH_HOST=ON", "-DLTH_WERROR=ON")


def emulator_for_onnxruntime() -> tuple[str, ...]:
    """qemu with an ARM /proc/cpuinfo: it shows the host's, in which ONNX Runtime finds no processor and crashes."""
    root = PROJECT / "build" / "aarch64-root"
    cores = range(os.cpu_count() or 1)
    facts = "Features\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    part = "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n"
    text = "".join(f"processor\t: {core}\n{facts}{part}\n" for core in cores)
    info = root / "proc" / "cpuinfo"
    with one_at_a_time(root):
        if not info.is_file() or info.read_text() != text:  # another process may read it at this moment
            storage.write_text(info, text)
        if not (root / "lib").is_symlink():
            (root / "lib").symlink_to(Path(EMULATOR[2]) / "lib")
    return (*EMULATOR[:2], str(root))


def run_program(command: Sequence[object], *, fails: bool = False, **environment: str) -> str:
    """What a program prints; it must end well, or not, if it `fails`: then what it complains."""
    kept = {key: value for key, value in os.environ.items() if key not in ("LTH_ISA", "LTH_PROFILE", "LTH_TUNING")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=1800, env={**kept, **environment}
    )
    assert (done.returncode != 0) == fails, f"status {done.returncode}: {done.stderr[-4000:]}"
    assert done.returncode >= 0, f"signal {-done.returncode}"
    return done.stderr if fails else done.stdout
