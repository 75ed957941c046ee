"""Stock ONNX Runtime on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_deploy.errors import ArtifactError, MissingExtraError
from lth_deploy.runtimes.protocol import Array, Session

_ERRORS_ONLY = 3


class OnnxRuntime:
    """Takes packed artifacts: it inlines the functions and folds the decoding at load."""

    name = "onnxruntime"
    takes_packed = True

    def version(self) -> str:
        """ONNX Runtime's version."""
        return str(_module().__version__)

    def load(self, path: Path, *, threads: int = 0) -> Session:
        """Open `path` with the default optimizations.

        Raises:
            ArtifactError: the file is missing or ONNX Runtime refuses it.
        """
        engine = _module()
        if not path.is_file():
            raise ArtifactError(f"no such model file: {path}; give the path of an .onnx file")
        options = engine.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Idle workers otherwise spin on after a run and slow down whatever is measured next; inside a run
        # they spin as by default. (onnxruntime_session_options_config_keys.h)
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ArtifactError(
                f"ONNX Runtime {engine.__version__} cannot load {path}: {_first_line(error)}; check the file "
                "with lth-deploy inspect"
            ) from error
        return OnnxRuntimeSession(session, path, threads)


class OnnxRuntimeSession:
    """Wraps one InferenceSession."""

    def __init__(self, session: Any, path: Path, threads: int) -> None:
        self._session = session
        self._path = path
        self._threads = threads
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            ArtifactError: the model fails on these feeds.
        """
        try:
            values = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            shapes = {name: (str(value.dtype), value.shape) for name, value in feeds.items()}
            raise ArtifactError(
                f"{self._path} fails on inputs {shapes}: {_first_line(error)}; is the decoder the right one?"
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def describe(self) -> dict[str, str]:
        """Engine, version and threads."""
        return {
            "name": "onnxruntime",
            "version": str(_module().__version__),
            "threads": str(self._threads),
        }


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "base", "running ONNX files") from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:500]
