"""Engines on a board: what their sessions are opened with, and where the shared libraries of others come from."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from lth_deploy.boards.bundle import cache, files_of_wheel, is_own, newest_glibc
from lth_deploy.boards.remote import System
from lth_deploy.errors import BoardError

ONNXRUNTIME = "onnxruntime"

_OPENVINO = re.compile(
    r"lib(openvino(_c|_onnx_frontend|_(intel|arm)_cpu_plugin)?|tbb|tbbmalloc|tbbbind_\d+_\d+|hwloc)\.so(\.\d+)*"
)
"""What runs an ONNX file on a CPU; the plugins of other devices and the readers of other formats stay behind."""

_OPENVINO_NAME = "libopenvino_c.so"
_NCNN_NAMES = ("libncnn.so.1", "libncnn.so")


@dataclass(frozen=True)
class Opened:
    """What a session is opened with. model, weights: files by their SHA-256; library: whether with the kernels.

    inputs: shapes to which an engine is fixed. outputs: ONNX's number of the type of each, for engines that do not keep
    it. Both in the order of the file.
    """

    model: str
    library: bool
    threads: int
    engine: str = ONNXRUNTIME
    weights: str = ""
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()

    def words(self, folder: str, library: str) -> list[str]:
        """Of a request, behind the number of the session. folder: of files there; library: of the kernels there."""
        words = [self.engine, str(self.threads), f"{folder}/{self.model}"]
        words += ["weights", f"{folder}/{self.weights}"] if self.weights else []
        words += ["library", library] if self.library else []
        words += [word for name, dims in self.inputs for word in ("input", name, "x".join(map(str, dims)))]
        return words + [word for name, kind in self.outputs for word in ("output", name, str(kind))]


@dataclass(frozen=True)
class EngineFiles:
    """files: copied to the board side by side. names: what is loaded there, the first that can be.

    A name is that of one of `files`, or one that the loader of the board looks up. advice: what to do where none is.
    """

    engine: str
    names: tuple[str, ...]
    files: tuple[Path, ...] = ()
    advice: str = ""

    @property
    def said(self) -> str:
        """The advice as the end of a message."""
        return f"; {self.advice}" if self.advice else ""

    def hold_glibc(self, host: str, system: System) -> None:
        """Compare the C library of a board with what the files need.

        Raises:
            BoardError: it is older, or another one.
        """
        needed, there = newest_glibc(self.files), system.glibc
        if needed and (there is None or there < needed):
            number = ".".join(map(str, needed))
            raise BoardError(f"{host} has {system.libc}, {self.engine} needs glibc {number}{self.said}")


def engine_files(engine: str, processor: str, ncnn_library: Path | None = None) -> EngineFiles:
    """Of OpenVINO or ncnn for a processor by its name in wheels.

    Raises:
        BoardError: OpenVINO's wheel for it cannot be fetched.
    """
    if engine == "ncnn":
        advice = "install its shared library there, or give --ncnn-library with one for that processor"
        if ncnn_library is not None:
            return EngineFiles(engine, (ncnn_library.name,), (ncnn_library,), advice)
        return EngineFiles(engine, _NCNN_NAMES, (), advice)
    assert engine == "openvino", engine
    files = _openvino_files(processor)
    names = tuple(file.name for file in files if file.name.startswith(_OPENVINO_NAME))
    return EngineFiles(
        engine, (*names, _OPENVINO_NAME), files, "" if names else "install it here: pip install 'lth-deploy[openvino]'"
    )


def _openvino_files(processor: str) -> tuple[Path, ...]:
    """Of the version that is installed here; none where none is."""
    found = find_spec("openvino")
    if found is None or found.origin is None:
        return ()
    own = Path(found.origin).parent / "libs"
    if is_own(processor) and own.is_dir():
        return tuple(sorted(file for file in own.iterdir() if _OPENVINO.fullmatch(file.name)))
    number = version("openvino")
    fetched = files_of_wheel(
        f"openvino=={number}",
        processor,
        cache() / f"openvino-{number}-{processor}",
        lambda name: _OPENVINO.fullmatch(Path(name).name) is not None,
    )
    if not any(name.startswith(_OPENVINO_NAME) for name in fetched):
        raise BoardError(f"the wheel of openvino {number} for {processor} has no {_OPENVINO_NAME}")
    return tuple(fetched[name] for name in sorted(fetched))
