"""The check before anything is timed: does a candidate find what its own weights find in plain ONNX?"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lth_deploy.errors import ArtifactError, InputMismatchError, ParityError
from lth_deploy.measure.parity import ParityLimits, compare_detections
from lth_deploy.runtimes import FP32, RUNTIMES
from lth_deploy.workflow.artifact import Artifact, open_session
from lth_deploy.workflow.benchmark.candidates import KERNELS, Candidate

if TYPE_CHECKING:
    from lth_deploy.decoders import Photo
    from lth_deploy.detections import Detections

log = logging.getLogger(__name__)

ROUNDED_ONCE = (
    "the kernels round a sum of bytes once, plain ONNX twice, so INT8 detections differ a little; each has its own AP"
)

ROUNDS_OTHERWISE = "this engine rounds in its own way, so its detections differ a little; each row has its own AP"


def check_outputs(candidate: Candidate, artifact: Artifact, images: "Sequence[Photo]") -> list[str]:
    """Compare with the same weights in plain ONNX on ONNX Runtime; returns notes for the row.

    A candidate that is plain ONNX on ONNX Runtime, or rounds to bf16 or INT8 on another engine, only has to
    run. The kernels round fused INT8
    additions once, ONNX Runtime rounds twice: there a difference is a note, not a failure.

    Raises:
        ParityError: a packed artifact's outputs are not those of its weights in plain ONNX.
        ArtifactError: the model or its decoder fails on an image.
    """
    if candidate.values != FP32 and not RUNTIMES.get(candidate.engine).takes_packed:
        for image in images:
            _detections(candidate, artifact, image)
        return [ROUNDS_OTHERWISE]
    plain = candidate.reference or (candidate.loaded.path if candidate.engine != "onnxruntime" else None)
    found = [_detections(candidate, artifact, image) for image in images]
    if plain is None:
        return []
    reference = open_session(replace(candidate.loaded, path=plain, packed=False), engine="onnxruntime", threads=1)
    pairs = ((number, reference.predict(image), found[number]) for number, image in enumerate(images))
    report = compare_detections(pairs, ParityLimits(minimum_boxes=0))
    if report.passed:
        return []
    text = f"{candidate} differs from its own weights in plain ONNX: {report.describe()}"
    if candidate.file.quantized and candidate.engine == KERNELS:
        log.info("%s", text)
        return [ROUNDED_ONCE]
    if RUNTIMES.get(candidate.engine).takes_packed:
        raise ParityError(f"{text}; nothing was timed: export the file again")
    log.warning("%s", text)
    return [text]


def _detections(candidate: Candidate, artifact: Artifact, image: "Photo") -> "Detections":
    """Detections in one image.

    Raises:
        ParityError: the kernel library fails although the inputs are those that the model declares.
    """
    try:
        return artifact.predict(image)
    except ArtifactError as error:
        if candidate.engine != KERNELS or isinstance(error.__cause__, InputMismatchError):
            raise
        raise ParityError(f"{candidate.name} cannot run with the kernel library: {error}; nothing was timed") from error
