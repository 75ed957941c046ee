"""Running a model of ours in stock ONNX Runtime while compiling."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import ModelProto

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.model.random_inputs import Trial
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.engine_messages import EngineFailure, failure_of, log_severity
from lth_deploy.errors import ArtifactError

if TYPE_CHECKING:
    import onnxruntime


def session(model: ModelProto) -> "onnxruntime.InferenceSession":
    """A session of one thread, so that results do not depend on the machine's cores.

    Raises:
        ArtifactError: ONNX Runtime does not load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity()
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise _failed("the model does not run in ONNX Runtime", error) from error


def run(running: "onnxruntime.InferenceSession", names: Iterable[str], feed: Feeds) -> dict[str, Array]:
    """The outputs of one pass by these names, which are all outputs in order.

    Raises:
        ArtifactError: the model does not run on the feed.
    """
    try:
        return dict(zip(names, running.run(None, feed), strict=True))
    except Exception as error:  # as above
        raise _failed("the model does not run on a calibration image", error) from error


def trial_of(model: ModelProto) -> Trial:
    """A function that says why a model does not run on some inputs.

    Raises:
        ArtifactError: ONNX Runtime does not load the model.
    """
    running = session(model)

    def trial(feeds: Feeds) -> EngineFailure | None:
        try:
            running.run(None, dict(feeds))
        except Exception as error:  # as above
            return failure_of(error)
        return None

    return trial


def _failed(what: str, error: BaseException) -> ArtifactError:
    failure = failure_of(error)
    return ArtifactError(f"{what}: {failure.reason}", detail=failure.text)
