"""Running a model of ours in stock ONNX Runtime while compiling."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import ModelProto

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.model.random_inputs import Trial
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.errors import ArtifactError

if TYPE_CHECKING:
    import onnxruntime

_NOISE = (
    re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : "),
    re.compile(r"/onnxruntime_src/\S+ "),
    re.compile(r"\b[\w:<>&* ]*onnxruntime::[\w:]+\([^()]*\)( const)?( \[with [^]]*\])? "),
)
_LONGEST = 200


def session(model: ModelProto) -> "onnxruntime.InferenceSession":
    """A session of one thread, so that results do not depend on the machine's cores.

    Raises:
        ArtifactError: ONNX Runtime does not load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would print is in its exceptions too
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ArtifactError(f"the model does not run in ONNX Runtime: {short_reason(error)}") from error


def run(running: "onnxruntime.InferenceSession", names: Iterable[str], feed: Feeds) -> dict[str, Array]:
    """The outputs of one pass by these names, which are all outputs in order.

    Raises:
        ArtifactError: the model does not run on the feed.
    """
    try:
        return dict(zip(names, running.run(None, feed), strict=True))
    except Exception as error:  # as above
        raise ArtifactError(f"the model does not run on a calibration image: {short_reason(error)}") from error


def trial_of(model: ModelProto) -> Trial:
    """A function that says why a model does not run on some inputs.

    Raises:
        ArtifactError: ONNX Runtime does not load the model.
    """
    running = session(model)

    def trial(feeds: Feeds) -> str | None:
        try:
            running.run(None, dict(feeds))
        except Exception as error:  # as above
            return short_reason(error)
        return None

    return trial


def short_reason(error: BaseException) -> str:
    """The text of an exception of ONNX Runtime without codes, source files and C++ names, cut to one short line."""
    text = " ".join(str(error).split())
    for pattern in _NOISE:
        text = pattern.sub("", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
