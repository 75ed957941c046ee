"""The programs that a board needs: the consumer, the kernel library and ONNX Runtime's shared library.

For this machine they come from this installation. For another processor, the first two come out of the wheel of this
version, or from a checkout that has a cross compiler, and ONNX Runtime out of its own wheel.
"""

import contextlib
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from lth_deploy import storage
from lth_deploy.boards.remote import System
from lth_deploy.errors import BoardError, MissingLibraryError, UsageError
from lth_deploy.kernels import ops_library
from lth_deploy.processes import python, run_program

CONSUMER = "lth_consumer"
LIBRARY = "liblth_ops.so"
SMALL_LIBRARY = "liblth_ops_small.so"
"""On x86-64 the same without the kernels for AVX-512, for boards that lack it."""

RUNTIME = "libonnxruntime.so"

PROCESSORS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
"""Names of processors as systems have them, and as wheels have them."""

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = {".cpp", ".h", ".inl", ".map", ".txt", ".cmake"}
_SECONDS = 3600.0
_GLIBC_OF_WHEELS = range(17, 50)
"""Minor versions for which wheels are taken; what a board has is compared with the files."""

_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """Three files for one processor; runtime: the shared library of ONNX Runtime."""

    consumer: Path
    library: Path
    runtime: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All of them."""
        return self.consumer, self.library, self.runtime

    @property
    def glibc(self) -> tuple[int, ...]:
        """The newest version that one of them asks for; () where none asks for any."""
        return newest_glibc(self.files)


def newest_glibc(files: Iterable[Path]) -> tuple[int, ...]:
    """The newest version of glibc that one of the files asks for; () where none asks for any."""
    found = [match.groups() for file in files for match in _GLIBC.finditer(file.read_bytes())]
    return max(((int(major), int(minor)) for major, minor in found), default=())


def given_bundle(folder: Path) -> Bundle:
    """Programs that the user has built.

    Raises:
        UsageError: one of the three is not in the folder.
    """
    runtimes = sorted(folder.glob(f"{RUNTIME}*"))
    absent = [name for name in (CONSUMER, LIBRARY) if not (folder / name).is_file()]
    if absent or not runtimes:
        raise UsageError(f"--bundle {folder}: it has no {(absent or [RUNTIME])[0]}; give a folder with all three files")
    return Bundle(folder / CONSUMER, folder / LIBRARY, runtimes[0])


def suitable_bundle(host: str, system: System) -> Bundle:
    """Programs for the system of a host.

    Raises:
        BoardError: there are none.
    """
    what = f"{host} is {system.kernel} on {system.processor} with {system.bits}-bit programs and {system.libc}"
    own = "give --bundle with programs that were built for it"
    processor = PROCESSORS.get(system.processor.lower())
    if system.kernel != "Linux" or processor is None or system.bits not in ("64", "?"):
        raise BoardError(
            f"{what}; programs exist for 64-bit Linux on {' and '.join(sorted(set(PROCESSORS.values())))}: {own}"
        )
    if system.libc == "musl":
        raise BoardError(f"{what}; ONNX Runtime's wheels need glibc: {own}, with onnxruntime of the distribution")
    bundle = find_bundle(processor)
    small = bundle.library.with_name(SMALL_LIBRARY)
    if system.features != "avx512" and small.is_file():
        bundle = replace(bundle, library=small)
    if system.glibc is not None and system.glibc < bundle.glibc:
        raise BoardError(f"{what}; the programs need glibc {'.'.join(map(str, bundle.glibc))}: {own}")
    return bundle


def find_bundle(processor: str) -> Bundle:
    """Programs for a processor by its name in wheels, built or fetched where this machine does not have them yet.

    Raises:
        BoardError: they cannot be had; the message says what to do.
    """
    own = is_own(processor)
    consumer, library = (_own_programs() if own else None) or _foreign_programs(processor)
    return Bundle(consumer, library, (_own_runtime() if own else None) or _fetched_runtime(processor))


def is_own(processor: str) -> bool:
    """Whether programs for a processor run on this machine."""
    return PROCESSORS.get(platform.machine().lower()) == processor and sys.platform == "linux"


def cache() -> Path:
    """Where bundles are kept on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lth_deploy" / "bundles"


def _own_programs() -> tuple[Path, Path] | None:
    try:
        library = ops_library()
    except MissingLibraryError:
        return None
    consumer = library.with_name(CONSUMER)
    return (consumer, library) if consumer.is_file() else None


def _own_runtime() -> Path | None:
    found = find_spec("onnxruntime")
    folder = Path(found.origin).parent / "capi" if found and found.origin else None
    return next(iter(sorted(folder.glob(f"{RUNTIME}*"))), None) if folder else None


def _foreign_programs(processor: str) -> tuple[Path, Path]:
    """Consumer and kernel library for another processor, or for this one where they were not built."""
    sources = _PACKAGE.parent / "export" / "consumers" / "cpp"
    compiler = shutil.which(f"{processor}-linux-gnu-g++")
    if sources.is_dir() and compiler:
        return _built(processor, sources, compiler)
    own = version("lth-deploy")
    names = {f"lth_deploy/kernels/{name}" for name in (CONSUMER, LIBRARY, SMALL_LIBRARY)}
    folder = cache() / f"lth-deploy-{own}-{processor}"
    found = files_of_wheel(f"lth-deploy=={own}", processor, folder, lambda name: name in names)
    if not {CONSUMER, LIBRARY} <= set(found):
        raise BoardError(
            f"the wheel of lth-deploy {own} for {processor} has no programs for a board; give --bundle with your own"
        )
    return found[CONSUMER], found[LIBRARY]


def _built(processor: str, sources: Path, compiler: str) -> tuple[Path, Path]:
    """Cross-built from this checkout; kept until a source changes."""
    kernels = _PACKAGE / "kernels"
    files = sorted(file for root in (sources, kernels) for file in root.rglob("*") if file.suffix in _SOURCES)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = cache() / f"built-{processor}-{digest}"
    done = folder / CONSUMER, folder / LIBRARY
    if all(file.is_file() for file in done):
        return done
    cmake = shutil.which("cmake")
    if cmake is None:
        raise BoardError("building programs for a board needs cmake; install it: pip install cmake")
    log.info("building the kernels and the consumer for %s; this takes minutes, once", processor)
    options = [f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={processor}"]
    with storage.scratch("bundle") as work:
        for command in (
            [cmake, "-S", str(kernels), "-B", str(work), "-DCMAKE_BUILD_TYPE=Release", *options],
            [cmake, "--build", str(work), "--parallel", str(os.cpu_count() or 1)],
        ):
            _run(command, work, "building programs for the board")
        made = [file for name in (CONSUMER, LIBRARY, SMALL_LIBRARY) for file in work.rglob(name) if file.is_file()]
        _keep(folder, {file.name: file.read_bytes() for file in made})
    return done


def _fetched_runtime(processor: str) -> Path:
    own = version("onnxruntime")
    found = files_of_wheel(
        f"onnxruntime=={own}",
        processor,
        cache() / f"onnxruntime-{own}-{processor}",
        lambda name: Path(name).name.startswith(f"{RUNTIME}."),
    )
    return next(iter(found.values()))


def files_of_wheel(requirement: str, processor: str, folder: Path, wanted: Callable[[str], bool]) -> dict[str, Path]:
    """Files out of a package's wheel for a processor, by name; fetched by pip, once.

    Raises:
        BoardError: there is no such wheel, or it has none of the files.
    """
    if folder.is_dir():
        return {file.name: file for file in folder.iterdir()}
    tags = [part for glibc in _GLIBC_OF_WHEELS for part in ("--platform", f"manylinux_2_{glibc}_{processor}")]
    log.info("fetching %s for %s", requirement, processor)
    with storage.scratch("wheel") as work:
        command = python("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *tags)
        _run([*command, "--dest", str(work), requirement], work, f"fetching {requirement} for {processor}")
        (wheel,) = work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = {Path(name).name: archive.read(name) for name in archive.namelist() if wanted(name)}
    if not content:
        raise BoardError(f"{wheel.name} has no library for a board; give --bundle with programs of your own")
    _keep(folder, content)
    return {name: folder / name for name in content}


def _keep(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write files into a new folder that is there only once it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with storage.private_folder(folder.parent, ".new-") as work:
        new = work / folder.name
        new.mkdir()
        for name, data in content.items():
            storage.write_bytes(new / name, data)
        with contextlib.suppress(OSError):  # another process was first
            new.rename(folder)


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    try:
        done = run_program(command, folder, _SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoardError(f"{what} failed: {error}; give --bundle with programs of your own") from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise BoardError(
            f"{what} failed: {(lines[-1] if lines else 'no message').strip()[:300]}; give --bundle with programs of "
            "your own"
        )
