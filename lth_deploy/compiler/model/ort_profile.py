"""What each operator takes in stock ONNX Runtime, from its own profile."""

import json
import time
from collections.abc import Iterable, Mapping
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
    """A node as ONNX Runtime runs it, fusions done, and its microseconds in one inference."""

    name: str
    op_type: str
    us: float


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


def operator_times(events: Iterable[Mapping[str, Any]]) -> list[OperatorTime]:
    """The least time of each node over all runs of a profile: the first run is slower, other work disturbs some.

    On one thread nodes run one after the other; what begins before the last one ended is the body of an If or Loop.
    """
    kernels = [event for event in events if event.get("cat") == "Node" and str(event["name"]).endswith(_KERNEL)]
    least: dict[tuple[str, str], float] = {}
    end = float("-inf")
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] < end:
            continue
        end = event["ts"] + event["dur"]
        key = (str(event["name"]).removesuffix(_KERNEL), str(event["args"]["op_name"]))
        least[key] = min(least.get(key, float("inf")), float(event["dur"]))
    return [OperatorTime(name, op_type, us) for (name, op_type), us in least.items()]
