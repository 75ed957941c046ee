"""What each operator takes in stock ONNX Runtime, from its own profile."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError

_RUNS = 4
_LEAST_RUNS = 2
_SECONDS = 5.0
"""When so much time is over, the least number of runs must do."""

_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class OperatorTime:
    """A node as ONNX Runtime runs it, fusions done, and its microseconds in one inference.

    inputs, outputs: shapes. types: of the elements of its inputs and outputs, as ONNX Runtime names them.
    """

    name: str
    op_type: str
    us: float
    inputs: tuple[tuple[int, ...], ...] = ()
    outputs: tuple[tuple[int, ...], ...] = ()
    types: tuple[str, ...] = ()


def stock_times(model: ModelProto, feeds: Feeds) -> list[OperatorTime]:
    """The nodes of the main graph with the time of each on one thread; of bodies of If and Loop, only the whole.

    Raises:
        ArtifactError: the model does not run on `feeds`, or the runtime writes no profile that can be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    try:
        with storage.scratch("profile") as folder:
            options.profile_file_prefix = str(folder / "run")
            session = onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
            try:
                began = time.perf_counter()
                for done in range(_RUNS):
                    if done >= _LEAST_RUNS and time.perf_counter() - began > _SECONDS:
                        break
                    session.run(None, dict(feeds))
            finally:
                written = Path(session.end_profiling())
            return operator_times(json.loads(written.read_text(encoding="utf-8")))
    except ArtifactError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class, and its profile has no schema
        failure = failure_of(error)
        raise ArtifactError(
            f"the model could not be profiled in ONNX Runtime: {failure.reason}", detail=failure.text
        ) from error


def operator_times(
    events: Iterable[Mapping[str, Any]], statistic: Callable[[Sequence[float]], float] = min
) -> list[OperatorTime]:
    """The least time of each node over all runs of a profile: the first run is slower, other work disturbs some.

    statistic: another one than the least.

    On one thread nodes run one after the other; what begins before the last one ended is the body of an If or Loop.
    """
    kernels = [event for event in events if event.get("cat") == "Node" and str(event["name"]).endswith(_KERNEL)]
    samples: dict[tuple[str, str], list[float]] = {}
    shapes: dict[tuple[str, str], Mapping[str, Any]] = {}
    end = float("-inf")
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] < end:
            continue
        end = event["ts"] + event["dur"]
        key = (str(event["name"]).removesuffix(_KERNEL), str(event["args"]["op_name"]))
        samples.setdefault(key, []).append(float(event["dur"]))
        shapes[key] = event["args"]
    return [_operator_time(*key, statistic(times), shapes[key]) for key, times in samples.items()]


def _operator_time(name: str, op_type: str, us: float, args: Mapping[str, Any]) -> OperatorTime:
    """With the shapes and types of an event; ONNX Runtime before 1.15 writes none."""
    both = [[next(iter(one.items())) for one in args.get(f"{side}_type_shape", ())] for side in ("input", "output")]
    inputs, outputs = (tuple(tuple(int(size) for size in shape) for _, shape in side) for side in both)
    return OperatorTime(name, op_type, us, inputs, outputs, tuple(str(kind) for side in both for kind, _ in side))
