"""What a model from elsewhere is fed with: images as its decoder wants them, or noise where there are none."""

import logging
from pathlib import Path

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.compiler.importing.frozen_sizes import refusal
from lth_deploy.compiler.model.input_sizes import Sizes, sizes_text
from lth_deploy.compiler.model.ort_session import trial_of
from lth_deploy.compiler.model.random_inputs import Trial, fitting_sizes, trial_feeds
from lth_deploy.data.images import image_files, read_image
from lth_deploy.decoders import AUTO, Decoder
from lth_deploy.engine_messages import EngineFailure
from lth_deploy.errors import ArtifactError, LthError, UsageError
from lth_deploy.workflow.decoding import DecoderChoice, decoder_of_file
from lth_deploy.workflow.export.onnx_job import OnnxJob
from lth_deploy.workflow.export.quantization import spread

log = logging.getLogger(__name__)

NOISE_INPUTS = 4


def decoder_of(path: Path, job: OnnxJob, original: ModelProto) -> DecoderChoice | None:
    """The decoder that the job names, the model, or its graph; None where no image is read and none is found.

    Raises:
        UsageError: there are images, and nobody says how the model wants them; or see `decoder_of_file`.
    """
    metadata = read_metadata(original)
    needed = job.images is not None or job.calibrate is not None or job.decoder not in (None, AUTO)
    try:
        return decoder_of_file(path, original, metadata, job.decoder, may_run=needed)
    except LthError as error:
        if job.calibrate is not None and isinstance(error, UsageError):
            raise UsageError(
                f"{path.name} cannot be calibrated, as images reach a model through its decoder: {error}"
            ) from error
        if needed:
            raise
        log.info("no decoder is recorded: %s", str(error).partition("; known are")[0])
        return None


def gate_inputs(
    model: ModelProto, job: OnnxJob, decoder: Decoder | None, most: int
) -> tuple[list[tuple[str, Feeds]], str]:
    """Named feeds for the gate, of at most `most` images, and in words what they are; the model runs on the first.

    Raises:
        UsageError: there are no images, and sizes are open on which the model does not run. ArtifactError: the model
            does not run.
    """
    trial = _trial(model, job.shapes)
    if decoder is None or job.images is None:
        sizes = fitting_sizes(model, job.shapes, trial)
        noise = [(f"noise {seed}", trial_feeds(model, sizes, seed)) for seed in range(NOISE_INPUTS)]
        return list(noise), f"{NOISE_INPUTS} inputs of seeded noise ({sizes_text(sizes)})"
    feeds = [(file.name, _fed(file, decoder)) for file in image_files(job.images)[:most]]
    if feeds:
        failure = trial(feeds[0][1])
        if failure is not None:
            what = f"the model does not run in ONNX Runtime on {feeds[0][0]}"
            raise ArtifactError(f"{what}: {failure.reason}", detail=failure.text)
    return feeds, f"{len(feeds)} images of {job.images.name}"


def _trial(model: ModelProto, shapes: Sizes) -> Trial:
    """A function that runs the model; where the user gave shapes, it names the node that refuses them.

    Raises:
        UsageError: the model does not load with these shapes. ArtifactError: it does not load.
    """
    try:
        running = trial_of(model)
    except ArtifactError as error:
        if not shapes:
            raise
        failure = refusal(model, shapes, EngineFailure(str(error), error.detail or ""))
        raise UsageError(f"with --shape {failure.reason}") from error
    if not shapes:
        return running

    def trial(feeds: Feeds) -> EngineFailure | None:
        failure = running(feeds)
        return None if failure is None else refusal(model, shapes, failure)

    return trial


def calibration_feeds(job: OnnxJob, decoder: Decoder | None, most: int) -> list[Feeds]:
    """Feeds of at most `most` images, spread over the folder to calibrate on."""
    assert decoder is not None, "decoder_of finds one, or says that it is missing"
    return [_fed(file, decoder) for file in calibration_files(job, most)]


def calibration_files(job: OnnxJob, most: int) -> list[Path]:
    """At most `most` images, spread over the folder to calibrate on."""
    assert job.calibrate is not None, "the job was checked"
    return spread(image_files(job.calibrate), most)


def _fed(file: Path, decoder: Decoder) -> Feeds:

    return decoder.prepare(read_image(file))[0]
