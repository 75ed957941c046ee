"""Running a model of ours in stock ONNX Runtime while compiling."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import ModelProto

from lth_deploy.compiler.calibration import Feeds
from lth_deploy.compiler.save import to_bytes
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import Array

if TYPE_CHECKING:
    import onnxruntime


def session(model: ModelProto) -> "onnxruntime.InferenceSession":
    """A session of one thread, so that results do not depend on the machine's cores.

    Raises:
        ArtifactError: ONNX Runtime does not load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ArtifactError(f"the model does not run in ONNX Runtime: {str(error)[:500]}") from error


def run(running: "onnxruntime.InferenceSession", names: Iterable[str], feed: Feeds) -> dict[str, Array]:
    """The outputs of one pass by these names, which are all outputs in order.

    Raises:
        ArtifactError: the model does not run on the feed.
    """
    try:
        return dict(zip(names, running.run(None, feed), strict=True))
    except Exception as error:  # as above
        raise ArtifactError(f"the model does not run on a calibration image: {str(error)[:500]}") from error
