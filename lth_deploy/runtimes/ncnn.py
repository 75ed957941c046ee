"""ncnn on the CPU: a peer in benchmarks, above all on Arm. Its own converter, pnnx, makes its files from ONNX."""

import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lth_deploy import storage
from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.errors import ArtifactError, MissingExtraError, UsageError
from lth_deploy.processes import run_program
from lth_deploy.run_clock import TimedRun
from lth_deploy.runtimes.protocol import FP32, Session

_CONVERSION_SECONDS, _LONGEST_TEXT = 600, 4000
_LEAVE_OUT = "leave it out with --engine onnxruntime"


@dataclass(frozen=True)
class Interface:
    """Inputs of a file with their shapes, and outputs with their ranks; None for a rank that the file leaves open."""

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, int | None]


class Ncnn:
    """float32, one image at a time: ncnn knows no batches."""

    name = "ncnn"
    takes_packed = False
    fixes_shapes = True
    needs_shapes = True

    def version(self) -> str:
        """The version of ncnn; pnnx has to be there as well."""
        _converter()
        return str(_module().__version__)

    def precisions(self) -> tuple[str, ...]:
        """fp32."""
        self.version()
        return (FP32,)

    def load(
        self,
        path: Path,
        *,
        threads: int = 0,
        precision: str = FP32,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> Session:
        """Convert `path` for the shapes that it has, or for these, and load the result.

        Raises:
            UsageError: another precision than fp32.
            ArtifactError: the file is missing, leaves a size open that `shapes` does not give, has a batch, or cannot
                be converted.
        """
        engine, version = _module(), self.version()
        if precision != FP32:
            raise UsageError(f"ncnn computes in {FP32} here, not in {precision!r}")
        if not path.is_file():
            raise ArtifactError(f"no such model file: {path}; give the path of an .onnx file")
        interface = read_interface(path, shapes or {})
        net = engine.Net()
        options = net.opt
        options.use_vulkan_compute = False
        for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(options, half, False)
        if threads:
            options.num_threads = threads
        with storage.scratch("ncnn") as folder, TimedRun():
            layers = converted(path, interface.inputs, folder)
            if net.load_param(str(layers)) or net.load_model(str(layers.with_suffix(".bin"))):
                raise ArtifactError(f"ncnn {version} lacks an operator of {path}; {_LEAVE_OUT}")
        missing = {f"out{number}" for number in range(len(interface.outputs))} - set(net.output_names())
        if missing:
            raise ArtifactError(f"pnnx lost outputs of {path}; {_LEAVE_OUT}")
        return NcnnSession(net, engine.Mat, interface, path, version)


class NcnnSession:
    """Wraps one network; every run has an extractor of its own."""

    def __init__(self, net: Any, matrix: Any, interface: Interface, path: Path, version: str) -> None:
        self._net = net
        self._matrix = matrix
        self._interface = interface
        self._path = path
        self._version = version

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name.

        Raises:
            ArtifactError: the feeds do not have the shapes of the network, or it fails on them.
        """
        shapes = {name: np.shape(value) for name, value in feeds.items()}
        if shapes != self._interface.inputs:
            raise ArtifactError(f"{self._path} takes {self._interface.inputs} in ncnn, found {shapes}")
        found: Arrays = {}
        with TimedRun():
            extractor = self._net.create_extractor()
            # The matrix does not own what it reads.
            held = [np.ascontiguousarray(feeds[name][0], np.float32) for name in self._interface.inputs]
            for number, value in enumerate(held):
                extractor.input(f"in{number}", self._matrix(value))
            for number, (name, rank) in enumerate(self._interface.outputs.items()):
                status, made = extractor.extract(f"out{number}")
                if status:
                    raise ArtifactError(f"{self._path} fails in ncnn at output '{name}'; {_LEAVE_OUT}")
                value = np.array(made)
                found[name] = value if rank == value.ndim else value[None]
        return found

    def describe(self) -> dict[str, str]:
        """Engine, version and threads."""
        return {"name": "ncnn", "version": self._version, "threads": str(self._net.opt.num_threads)}


def read_interface(path: Path, shapes: Mapping[str, Sequence[int]]) -> Interface:
    """What a file takes and gives; shapes: of inputs whose sizes it leaves open.

    Raises:
        ArtifactError: ncnn cannot take such inputs, or a size is left open.
    """
    import onnx

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise ArtifactError(f"{path.name} is no ONNX model", detail=str(error)) from error
    constants = {constant.name for constant in graph.initializer}
    inputs = {}
    for value in graph.input:
        if value.name in constants:
            continue
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise ArtifactError(f"input '{value.name}' of {path.name} is not float32, which ncnn takes; {_LEAVE_OUT}")
        declared = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        shape = tuple(shapes.get(value.name, declared))
        if not shape or min(shape) < 1:
            raise ArtifactError(
                f"{path.name} leaves sizes of its input '{value.name}' open, which ncnn needs: give images of one shape"
            )
        if len(shape) < 2 or shape[0] != 1:
            raise ArtifactError(
                f"input '{value.name}' of {path.name} has the shape {shape}: ncnn takes one image at a time"
            )
        inputs[value.name] = shape
    outputs = {
        value.name: len(value.type.tensor_type.shape.dim) if value.type.tensor_type.HasField("shape") else None
        for value in graph.output
    }
    return Interface(inputs, outputs)


def converted(path: Path, inputs: Mapping[str, Sequence[int]], folder: Path) -> Path:
    """The converted network: the file of its layers, with the file of its weights, .bin, beside it.

    Raises:
        MissingExtraError: pnnx is not installed. ArtifactError: it cannot convert the file.
    """
    copy = folder / "model.onnx"
    copy.write_bytes(path.read_bytes())
    sizes = ",".join(f"[{','.join(map(str, shape))}]f32" for shape in inputs.values())
    command = [str(_converter()), copy.name, f"inputshape={sizes}", "fp16=0"]
    try:
        done = run_program(command, folder, _CONVERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ArtifactError(f"pnnx cannot convert {path.name}; {_LEAVE_OUT}", detail=str(error)) from error
    layers = folder / "model.ncnn.param"
    if done.returncode != 0 or not layers.is_file():
        said = (done.stdout + done.stderr)[-_LONGEST_TEXT:]
        raise ArtifactError(f"pnnx cannot convert {path.name} to ncnn; {_LEAVE_OUT}", detail=said)
    return layers


def _converter() -> Path:
    # Only the program is wanted: the package imports torch.
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        raise MissingExtraError("pnnx", "ncnn", "the ncnn engine")
    return Path(found.origin).with_name("pnnx")


def _module() -> Any:
    try:
        import ncnn
    except ImportError as error:
        raise MissingExtraError("ncnn", "ncnn", "the ncnn engine") from error
    return ncnn
