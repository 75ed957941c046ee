"""ONNX Runtime on the CPU: as it comes, or with the kernel library."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError, InputMismatchError, MissingExtraError, MissingLibraryError, UsageError
from lth_deploy.kernels import ops_library
from lth_deploy.runtimes.protocol import FP32, Session

_LARGE_INPUTS = 96 << 20
"""Bytes; a color image of 32 million pixels. Below, giving memory back takes longer than it is worth."""


_MERGES_CONVERSIONS = "DoubleQDQPairsRemover"

log = logging.getLogger(__name__)


class OnnxRuntime:
    """Takes packed artifacts: it inlines the functions and folds the decoding at load.

    With `library` it must have the kernels, so that a result under its name was computed by them.
    """

    takes_packed = True
    fixes_shapes = False
    needs_shapes = False

    def __init__(self, name: str, *, library: bool) -> None:
        self.name = name
        self._library = library

    def version(self) -> str:
        """ONNX Runtime's version; with the library, also that of the package that it belongs to."""
        own = f" with kernels {version('lth-deploy')}" if self._library else ""
        return f"{_module().__version__}{own}"

    def precisions(self) -> tuple[str, ...]:
        """Files are computed as they are written."""
        return (FP32,)

    def load(
        self, path: Path, *, threads: int = 0, precision: str = FP32, shapes: Mapping[str, Sequence[int]] | None = None
    ) -> Session:
        """Open `path` with the default optimizations.

        Raises:
            UsageError: another precision than the file's, or fixed shapes.
            ArtifactError: the file is missing or ONNX Runtime refuses it.
            MissingLibraryError: the library is wanted and was not built.
        """
        if precision != FP32 or shapes is not None:
            raise UsageError(f"engine {self.name} computes files as they are: neither {precision} nor fixed shapes")
        opened = _open(path, threads, ops_library() if self._library else None)
        return OnnxRuntimeSession(opened, path, {"name": self.name, "version": self.version(), "threads": str(threads)})


def session(path: str | Path, *, threads: int = 0, library: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` for an exported file, with the kernel library where it was built.

    threads: 0 leaves the number to ONNX Runtime. library: False runs the file's standard operators only; so does an
    installation without the library, and says so in the log.

    Raises:
        ArtifactError: the file is missing or ONNX Runtime refuses it.
    """
    try:
        kernels = ops_library() if library else None
    except MissingLibraryError as error:
        log.warning("running in stock ONNX Runtime: %s", error)
        kernels = None
    return _open(Path(path), threads, kernels)


def as_written(path: Path) -> Session:
    """A session on one thread of the stock runtime that rounds wherever the file does.

    By default it makes one pair of conversions of two that follow each other, with a third scale.

    Raises:
        ArtifactError: the file is missing or ONNX Runtime refuses it.
    """
    opened = _open(path, 1, None, disabled_optimizers=[_MERGES_CONVERSIONS])
    return OnnxRuntimeSession(opened, path, {"name": "onnxruntime", "threads": "1"})


def _open(path: Path, threads: int, library: Path | None, **how: Any) -> Any:
    engine = _module()
    if not path.is_file():
        raise ArtifactError(f"no such model file: {path}; give the path of an .onnx file")
    options = engine.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = log_severity()
    # Idle workers otherwise spin on after a run and slow down whatever is measured next; inside a run
    # they spin as by default. (onnxruntime_session_options_config_keys.h)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        if library is not None:
            options.register_custom_ops_library(str(library))
        return engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], **how)
    except Exception as error:
        failure = failure_of(error)
        raise ArtifactError(
            f"ONNX Runtime {engine.__version__} cannot load {path}: {failure.reason}; check the file "
            "with lth-deploy inspect",
            detail=failure.text,
        ) from error


class OnnxRuntimeSession:
    """Wraps one InferenceSession."""

    def __init__(self, session: Any, path: Path, facts: dict[str, str]) -> None:
        self._session = session
        self._path = path
        self._facts = facts
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name; see `Session`.

        Raises:
            InputMismatchError: the feeds are not what the model's inputs declare.
            ArtifactError: the model fails on these feeds; names the node where ONNX Runtime does.
        """
        try:
            values = self._session.run(self._outputs, dict(feeds), _sparing(feeds) if give_back else None)
        except Exception as error:
            shapes = {name: (str(value.dtype), value.shape) for name, value in feeds.items()}
            failure = failure_of(error)
            if self._refused(feeds, error):
                what = f"{self._path} does not take the inputs {shapes}: {failure.reason}"
                raise InputMismatchError(what, detail=failure.text) from error
            what = f"{self._path} fails on inputs {shapes}: {failure.reason}"
            raise ArtifactError(what, detail=failure.text) from error
        return dict(zip(self._outputs, values, strict=True))

    def _refused(self, feeds: Feeds, error: Exception) -> bool:
        """Whether ONNX Runtime refused the feeds before it ran a node."""
        missing = {value.name for value in self._session.get_inputs()} - set(feeds)
        # Of a node that fails it raises InvalidArgument too, and then says which node was running.
        return bool(missing) or (type(error).__name__ == "InvalidArgument" and "while running" not in str(error))

    def describe(self) -> dict[str, str]:
        """Engine, version and threads."""
        return dict(self._facts)


def _sparing(feeds: Feeds) -> Any:
    """For large inputs, options that give memory back after the run, because the next one would take as much again."""
    if sum(value.nbytes for value in feeds.values()) < _LARGE_INPUTS:
        return None
    options = _module().RunOptions()
    # (onnxruntime_run_options_config_keys.h)
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "base", "running ONNX files") from error
    return onnxruntime
