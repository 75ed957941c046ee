"""OpenVINO on the CPU: a peer in benchmarks. It refuses model-local functions, so it gets dense files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.engine_messages import failure_of
from lth_deploy.errors import ArtifactError, MissingExtraError, UsageError
from lth_deploy.run_clock import TimedRun
from lth_deploy.runtimes.protocol import FP32, Session

_HINTS = {FP32: "f32", "bf16": "bf16"}


class OpenVino:
    """Latency hint, one stream: what one caller with one image gets."""

    name = "openvino"
    takes_packed = False
    fixes_shapes = True
    needs_shapes = False

    def version(self) -> str:
        """OpenVINO's version without the build suffix."""
        return str(_module().get_version()).split("-", 1)[0]

    def precisions(self) -> tuple[str, ...]:
        """fp32, and bf16 where OpenVINO says that the processor has it."""
        offered = _module().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return (FP32, "bf16") if "BF16" in offered else (FP32,)

    def load(
        self,
        path: Path,
        *,
        threads: int = 0,
        precision: str = FP32,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> Session:
        """Convert and compile `path`.

        precision: "fp32" or "bf16". shapes: of the inputs by name, which then are fixed; None leaves open
        what the file leaves open.

        Raises:
            UsageError: another precision.
            ArtifactError: the file is missing, or OpenVINO cannot convert or compile it.
        """
        engine = _module()
        if precision not in _HINTS:
            raise UsageError(f"OpenVINO computes in {' or '.join(_HINTS)} here, not in {precision!r}")
        if not path.is_file():
            raise ArtifactError(f"no such model file: {path}; give the path of an .onnx file")
        # On servers OpenVINO computes in bf16 by default; a table's row says what it is.
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            with TimedRun():
                core = engine.Core()
                model = core.read_model(str(path))
                # Fixing shapes folds nodes, and then an output may be called after one of them.
                names = [output.get_any_name() for output in model.outputs]
                if shapes is not None:
                    model.reshape({name: list(shape) for name, shape in shapes.items()})
                compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise ArtifactError(
                f"OpenVINO {self.version()} cannot load {path}; leave it out with --engine onnxruntime",
                detail=failure_of(error).text,
            ) from error
        return OpenVinoSession(compiled, names, path, threads, self.version())


class OpenVinoSession:
    """Wraps one compiled model with one reused request."""

    def __init__(self, compiled: Any, names: Sequence[str], path: Path, threads: int, version: str) -> None:
        """names: of the outputs, in their order, as the file has them."""
        self._request = compiled.create_infer_request()
        self._names = names
        self._path = path
        self._threads = threads
        self._version = version

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name, copied out of the request's buffers.

        Raises:
            ArtifactError: the model fails on these feeds.
        """
        try:
            with TimedRun():
                results = self._request.infer(dict(feeds))
        except Exception as error:
            raise ArtifactError(
                f"{self._path} fails in OpenVINO; leave it out with --engine onnxruntime",
                detail=failure_of(error).text,
            ) from error
        return {name: np.array(results[place]) for place, name in enumerate(self._names)}

    def describe(self) -> dict[str, str]:
        """Engine, version and threads."""
        return {"name": "openvino", "version": self._version, "threads": str(self._threads)}


def _module() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino", "the OpenVINO engine") from error
    return openvino
