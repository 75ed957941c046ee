"""How `export --onnx` prunes: by magnitude, or by layer-wise reconstruction on calibration images."""

import logging

from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.magnitude import LayerLoss, PruneReport, prune_onnx
from lth_deploy.compiler.one_shot.reconstruct import OneShot
from lth_deploy.decoders import Decoder
from lth_deploy.workflow.export.onnx_inputs import calibration_feeds
from lth_deploy.workflow.export.onnx_job import OnnxJob

log = logging.getLogger(__name__)

IMAGES = 64
"""Most images that reconstruction looks at, spread over the folder."""


def pruned(
    normalized: NormalizedModel, job: OnnxJob, decoder: Decoder | None
) -> tuple[NormalizedModel, dict[str, LayerLoss]]:
    """A normalized model as the job wants it pruned, and what reconstruction did to each layer.

    Raises:
        UsageError, DataError, ArtifactError: see `prune_onnx` and `OneShot`.
    """
    if job.sparsity is None:
        return normalized, {}
    if job.method == "magnitude":
        model, report = prune_onnx(normalized, job.sparsity, exclude=job.exclude)
    else:
        model, report = _reconstructed(normalized, job.sparsity, job, decoder)
    log.info("%d of %d weights are zero after pruning", report.zeros, report.elements)
    for name, reason in report.left.items():
        log.info("%s was left as it is: %s", name, reason)
    return model, report.losses


def _reconstructed(
    normalized: NormalizedModel, sparsity: float, job: OnnxJob, decoder: Decoder | None
) -> tuple[NormalizedModel, PruneReport]:

    feeds = calibration_feeds(job, decoder, IMAGES)
    return OneShot(normalized, feeds, exclude=job.exclude, structure=job.structure).prune(sparsity)
