"""Box AP of a model from elsewhere before and after `export --onnx`, where there are annotations."""

import hashlib
import logging
from pathlib import Path

from onnx import ModelProto

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.data.coco.load import load_coco
from lth_deploy.decoders import Decoder
from lth_deploy.errors import GateError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.evaluate import box_scores, map_labels
from lth_deploy.workflow.export.onnx_job import OnnxJob

log = logging.getLogger(__name__)


def check_classes(original: ModelProto, decoder: Decoder | None, job: OnnxJob) -> None:
    """Hold the classes of the model to those of the job's data, before any work.

    Raises:
        DataError: faulty data, the model does not name its classes, or none of them is in the data.
    """
    if job.data is None or job.images is None:
        return
    metadata = read_metadata(original)
    names = tuple(entry.name for entry in metadata.classes) if metadata is not None else ()
    if not names and decoder is not None:
        names = decoder.class_names or ()
    for note in map_labels(names, load_coco(job.data, job.images).class_names).notes:
        log.info("%s", note)


class ApOf:
    """Box AP of files on a job's data. A graph that was scored before is not scored again, whatever its metadata."""

    def __init__(self, job: OnnxJob) -> None:
        self._job = job
        self._known: dict[str, Scores] = {}

    def __call__(self, file: Path) -> Scores | None:
        """None where the job has no data."""
        job = self._job
        if job.data is None or job.images is None:
            return None
        key = _digest(file)
        if key not in self._known:
            self._known[key] = box_scores(file, job.data, job.images, decoder=job.decoder)
        return self._known[key]


def _digest(file: Path) -> str:
    model = load_model(file)
    del model.metadata_props[:]
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def hold_ap(before: Scores, after: Scores, job: OnnxJob) -> None:
    """Hold the AP of an artifact to that of the original, where the job names a bound.

    Raises:
        GateError: more was lost on the images of the job.
    """
    dense, packed = before.ap("bbox"), after.ap("bbox")
    if dense is None or packed is None:
        return
    log.info("AP %.1f, the original has %.1f", 100 * packed, 100 * dense)
    if job.max_ap_drop is not None and dense - packed > job.max_ap_drop:
        raise GateError(
            f"AP fell from {100 * dense:.1f} to {100 * packed:.1f}, by more than the allowed "
            f"{100 * job.max_ap_drop:.1f} points; prune less, or search a ticket with find-ticket. "
            "Nothing was written"
        )
