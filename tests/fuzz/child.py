"""Running one case in a forked child with limits: what it may use, what it may touch, and how it ended."""

import ctypes
import faulthandler
import gc
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CRASHED = 70  # exit code of a child whose command ended with an exception that is no SystemExit
TEMPORARIES = "tmp"  # folder of the logs where a child's temporary files go
_CLONE_NEWNET = 0x40000000
_NET_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.bind")


@dataclass(frozen=True)
class Limits:
    """memory: bytes beyond what the parent holds. cpu and wall: seconds."""

    memory: int = 2 << 30
    cpu: int = 30
    wall: float = 240.0


@dataclass(frozen=True)
class Ending:
    """code: None where a signal ended the child. peak: bytes beyond the parent's. broken: rules that it broke."""

    code: int | None
    signal: int | None
    late: bool
    seconds: float
    peak: int
    out: str
    err: str
    trace: str
    broken: tuple[str, ...]


def without_network() -> None:
    """Leave the network for this process and its children, where the system allows it."""
    ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET)


def run_limited(action: Callable[[], None], scratch: Path, logs: Path, limits: Limits) -> Ending:
    """Run `action` with `scratch` as working folder; `logs` receives what it prints.

    The child may write below `scratch` and `logs` only, and reach no network. What breaks these rules is recorded.
    """
    shutil.rmtree(logs, ignore_errors=True)
    (logs / TEMPORARIES).mkdir(parents=True)
    for name in ("out", "err", "trace", "broken"):
        (logs / name).write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _live(action, scratch, logs, limits)
    late, status, usage = _wait(child, start + limits.wall)
    return Ending(
        code=os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        late=late,
        seconds=time.monotonic() - start,
        peak=max(0, 1024 * usage.ru_maxrss - _resident()),
        out=_text(logs / "out"),
        err=_text(logs / "err"),
        trace=_text(logs / "trace"),
        broken=tuple(dict.fromkeys(_text(logs / "broken").splitlines())),
    )


def _wait(child: int, deadline: float) -> tuple[bool, int, resource.struct_rusage]:
    late, pause = False, 0.001
    while True:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            # What it started dies with it, while its number is still that of its group.
            _kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return late, status, usage
        if not late and time.monotonic() > deadline:
            late = True
            os.kill(child, signal.SIGUSR1)  # tells where it was
            time.sleep(0.5)
        if late:
            _kill(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)  # it may lead no group yet
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def _kill(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _live(action: Callable[[], None], scratch: Path, logs: Path, limits: Limits) -> None:
    """The child's whole life."""
    code = CRASHED
    try:
        os.setpgid(0, 0)
        trace = (logs / "trace").open("w")
        faulthandler.enable(trace, all_threads=False)
        for number in (signal.SIGUSR1, signal.SIGXCPU):
            faulthandler.register(number, trace, all_threads=False, chain=number == signal.SIGXCPU)
        _redirect(logs)
        os.chdir(scratch)
        os.environ |= {"TMPDIR": str(logs / TEMPORARIES), "HOME": str(logs)}
        tempfile.tempdir = str(logs / TEMPORARIES)  # it may have been looked up before
        _watch(scratch, logs)
        _limit(limits)
        gc.disable()
        try:
            action()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        code = CRASHED
    finally:
        os._exit(code)


def _redirect(logs: Path) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        opened = os.open(logs / name, os.O_WRONLY | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _limit(limits: Limits) -> None:
    _set(resource.RLIMIT_CORE, 0, 0)
    _set(resource.RLIMIT_CPU, limits.cpu, limits.cpu + 2)
    _set(resource.RLIMIT_FSIZE, 1 << 30, 1 << 30)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + limits.memory
    _set(resource.RLIMIT_AS, most, most)


def _set(kind: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def _watch(scratch: Path, logs: Path) -> None:
    """Record writes outside of `scratch`, reads of files beside it, connections, and programs that are started."""
    record = os.open(logs / "broken", os.O_WRONLY | os.O_APPEND)
    own, beside = (f"{scratch.resolve()}/", f"{logs.resolve()}/"), f"{scratch.resolve().parent}/"

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        said = ""
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            inside = f"{path}/".startswith(own) or path.startswith(("/dev/", "/proc/"))
            if writes and not inside:
                said = f"writes {path}"
            elif not writes and path.startswith(beside) and not inside:
                said = f"reads {path}"
        elif event in _NET_EVENTS:
            said = f"{event} {arguments[1:]}"
        elif event == "subprocess.Popen" and arguments[0] != sys.executable:
            said = f"starts {arguments[0]}"
        elif event in ("os.system", "pickle.find_class"):
            said = f"{event} {arguments}"
        if said and not _of_a_package(event):
            os.write(record, ascii(said).encode() + b"\n")

    sys.addaudithook(hook)


def _of_a_package(event: str) -> bool:
    """Whether what looks odd is a package's own business, not the file's: torch unpickles types of its own."""
    if event not in ("pickle.find_class", "subprocess.Popen"):
        return False
    names = [frame.filename for frame in traceback.extract_stack()]
    return not any("/lth_deploy/" in name for name in names)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _text(path: Path) -> str:
    return path.read_bytes()[:200_000].decode("utf-8", "replace")
