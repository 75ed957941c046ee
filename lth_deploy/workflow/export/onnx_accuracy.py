"""Box AP of a model from elsewhere before and after `export --onnx`, where there are annotations."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import GateError

if TYPE_CHECKING:
    from lth_deploy.workflow.export.from_onnx import OnnxJob

log = logging.getLogger(__name__)


def ap_of(file: Path, job: "OnnxJob") -> float | None:
    """Box AP of a file on the job's data; None when there is none."""
    if job.data is None or job.images is None:
        return None
    from lth_deploy.workflow.evaluate import evaluate

    metrics = evaluate(file, job.data, job.images, decoder=job.decoder).ap.metrics
    value = metrics["bbox"]["AP"]
    return None if value is None else float(value)


def hold_ap(dense: float | None, packed: float | None, job: "OnnxJob") -> None:
    """Hold the AP of an artifact to that of the original, as fractions, where the job names a bound.

    Raises:
        GateError: more was lost.
    """
    if dense is None or packed is None:
        return
    log.info("AP %.1f, the original has %.1f", 100 * packed, 100 * dense)
    if job.max_ap_drop is not None and dense - packed > job.max_ap_drop:
        raise GateError(
            f"AP fell from {100 * dense:.1f} to {100 * packed:.1f}, by more than the allowed "
            f"{100 * job.max_ap_drop:.1f} points; prune less, or search a ticket with find-ticket. "
            "Nothing was written"
        )
