"""What is done on a board before anything is measured: looking at its system, copying files, removing them.

Files lie in one folder under their SHA-256, which the board itself computes each time. A copy that was cut off goes on
where it ended.
"""

import hashlib
import logging
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lth_deploy.boards.drivers import Driver
from lth_deploy.boards.link import fault
from lth_deploy.errors import BoardError, LinkLostError
from lth_deploy.processes import run_foreign
from lth_deploy.progress import progress

log = logging.getLogger(__name__)

_SECONDS = 120.0
_UPLOAD_SECONDS = 3600.0
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
_AT_ONCE = 500
"""Names in one command, of which Linux takes 128 kB."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"[a-z]+-[0-9a-f]{64}")

_LOOK = (
    'uname -s; uname -m; getconf LONG_BIT 2>/dev/null || echo "?"; '
    'getconf GNU_LIBC_VERSION 2>/dev/null || { [ -e "$1/lib/ld-musl-$(uname -m).so.1" ] && echo "musl"; } || echo "?"; '
    "grep -q -w avx512f /proc/cpuinfo 2>/dev/null && echo avx512 || echo -"
)
_ROOT = "/"
_PREPARE = (
    'umask 077; mkdir -p -- "$1" && cd -- "$1" && pwd -P || exit 1; { df -Pk . 2>/dev/null || df -k .; } | tail -n 1; '
    "shift; "
    'for f; do if [ -f "$f" ]; then echo "have $(sha256sum "$f")"; '
    'elif [ -f "$f.part" ]; then echo "part $(wc -c < "$f.part") $f"; fi; done; true'
)
_APPEND = (
    'cd -- "$1" && cat >> "$2.part" && s=$(sha256sum "$2.part") && if [ "${s%% *}" = "$2" ]; then '
    'chmod 700 "$2.part" && mv -f "$2.part" "$2" && echo whole; else rm -f "$2.part" && echo damaged; fi'
)
_LINK = (
    'umask 077; cd -- "$1" && mkdir -p -- "$2" && d=$2 && shift 2 && while [ $# -gt 1 ]; do rm -f -- "$d/$1"; '
    'ln -- "$2" "$d/$1" 2>/dev/null || cp -- "$2" "$d/$1" || exit 1; shift 2; done'
)
_LIST = 'if [ -d "$1" ]; then cd -- "$1" && ls; fi'
_REMOVE = 'cd -- "$1" && p=$(pwd -P) && shift && rm -rf -- "$@" && cd .. && { rmdir -- "$p" 2>/dev/null || true; }'


@dataclass(frozen=True)
class System:
    """What a board says of itself: processor by Linux's name, bits of its programs, C library as `glibc 2.31`.

    features: `avx512` where it has that.
    """

    kernel: str
    processor: str
    bits: str
    libc: str
    features: str = "-"

    @property
    def glibc(self) -> tuple[int, ...] | None:
        """Its version; None where the board has another library, or does not say."""
        found = re.fullmatch(r"glibc (\d+)\.(\d+)\S*", self.libc)
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Folder:
    """Where files lie on a board. free: bytes. whole: digests of the files there; parts: bytes of unfinished ones."""

    path: str
    free: int | None
    whole: frozenset[str]
    parts: Mapping[str, int]


def look(driver: Driver) -> System:
    """What kind of system the board has.

    Raises:
        BoardError: it cannot be reached, or says nothing that can be understood.
    """
    lines = _run(driver, _LOOK, [_ROOT], "asking for its system").split("\n")
    values = [line.strip() for line in lines if line.strip()][-5:]  # some shells print something at every login
    if len(values) != 5:
        raise BoardError(
            f"{driver.host} does not say which system it has but {values!r:.200}; a Linux with sh is needed"
        )
    return System(*values)


def prepare(driver: Driver, folder: str, digests: Sequence[str]) -> Folder:
    """Make the folder, and find out which of the files are there.

    Raises:
        BoardError: the board cannot be reached, or refuses the folder.
    """
    said = _run(driver, _PREPARE, [folder, *digests], f"making its folder {folder}")
    lines = said.strip().split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith("/")), None)
    if start is None:
        raise BoardError(f"{driver.host} does not say where its folder {folder} is but {said!r:.200}")
    disk = lines[start + 1].split() if len(lines) > start + 1 else []
    free = int(disk[-3]) * 1024 if len(disk) >= 5 and disk[-3].isdigit() else None
    whole, parts = set(), {}
    for line in lines[start + 2 :]:
        words = line.split()
        if len(words) == 3 and words[0] == "have" and words[1] == words[2].lstrip("*"):
            whole.add(words[1])
        elif len(words) == 3 and words[0] == "part" and words[1].isdigit():
            parts[words[2]] = int(words[1])
    return Folder(lines[start], free, frozenset(whole & set(digests)), parts)


def copy(driver: Driver, folder: str, files: Mapping[str, Path]) -> Folder:
    """Copy the files, by their SHA-256, that the board lacks; what was cut off before goes on where it ended.

    Raises:
        BoardError: the board cannot be reached or has too little space, or a file arrives damaged twice.
    """
    found = prepare(driver, folder, list(files))
    missing = {digest: path for digest, path in files.items() if digest not in found.whole}
    needed = sum(path.stat().st_size - found.parts.get(digest, 0) for digest, path in missing.items())
    hold_space(driver.host, found.path, found.free, needed)
    if missing:
        with progress(f"{driver.host}: files copied", total=len(missing)) as step:
            for digest, path in missing.items():
                _copy_file(driver, found.path, digest, path, found.parts.get(digest, 0))
                step()
    return found


def hold_space(host: str, folder: str, free: int | None, needed: int) -> None:
    """Compare what is free on a board with what is to be copied; both in bytes, free None where it is unknown.

    Raises:
        BoardError: it is too little.
    """
    if free is not None and free < needed:
        raise BoardError(
            f"{host} has {free / 1e6:.0f} MB free in {folder}, {needed / 1e6:.0f} MB are needed; free some space or "
            "choose --board-folder"
        )


def link(driver: Driver, folder: str, engine: str, files: Mapping[str, str]) -> str:
    """Give files that were copied, by their SHA-256, names of their own beside each other; the folder where they are.

    Libraries find each other by their names.

    Raises:
        BoardError: the board cannot be reached, or refuses.
    """
    place = f"{engine}-{hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()}"
    assert _NAMED.fullmatch(place)
    words = [word for name, digest in files.items() for word in (name, digest)]
    _run(driver, _LINK, [folder, place, *words], f"naming the libraries of {engine}")
    return f"{folder}/{place}"


def remove(driver: Driver, folder: str) -> None:
    """Remove what `copy` and `link` wrote, and the folder if nothing else is in it.

    Raises:
        BoardError: the board cannot be reached.
    """
    what = f"removing files from {folder}"
    names = _run(driver, _LIST, [folder], what).split("\n")
    own = [name for name in names if _DIGEST.fullmatch(name.removesuffix(".part")) or _NAMED.fullmatch(name)]
    for start in range(0, len(own), _AT_ONCE):
        _run(driver, _REMOVE, [folder, *own[start : start + _AT_ONCE]], what)


def _copy_file(driver: Driver, folder: str, digest: str, path: Path, part: int) -> None:
    """Copy one file, of which `part` bytes are there, and go on after a cut link."""
    assert _DIGEST.fullmatch(digest)
    damaged, cuts = 0, iter(_RETRY_SECONDS)
    while True:
        try:
            with path.open("rb") as source:
                source.seek(min(part, path.stat().st_size))
                said = _run(driver, _APPEND, [folder, digest], f"copying {path.name}", source, _UPLOAD_SECONDS)
            if said.split()[-1:] == ["whole"]:
                return
            damaged, part = damaged + 1, 0
        except LinkLostError as error:
            wait = next(cuts, None)
            if wait is None:
                raise
            log.warning("%s; trying again in %g s", error, wait)
            time.sleep(wait)
            there = prepare(driver, folder, [digest])
            if digest in there.whole:
                return
            part = there.parts.get(digest, 0)
        if damaged > 1:
            raise BoardError(f"{driver.host}: {path.name} arrived damaged twice; look at its disk and the network")


def _run(
    driver: Driver,
    script: str,
    arguments: Sequence[str],
    what: str,
    source: IO[bytes] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """What a script prints on a board.

    Raises:
        BoardError: it fails, or takes too long.
    """
    try:
        done = run_foreign(driver.command(script, arguments), source, seconds)
    except subprocess.TimeoutExpired as error:
        raise BoardError(f"{driver.host}: {what} took more than {seconds:.0f} s; look at the network") from error
    if done.returncode != 0:
        raise fault(driver, done.returncode, done.stderr.decode(errors="replace"), what)
    return done.stdout.decode(errors="replace")
