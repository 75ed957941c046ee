"""How `export --onnx` prunes: by magnitude, or by layer-wise reconstruction on calibration images."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lth_deploy.config.target import Target
from lth_deploy.errors import UsageError
from lth_deploy.workflow.export.onnx_inputs import calibration_feeds

if TYPE_CHECKING:
    from lth_deploy.compiler.model.normalized_model import NormalizedModel
    from lth_deploy.compiler.one_shot.magnitude import LayerLoss, PruneReport
    from lth_deploy.decoders import Decoder
    from lth_deploy.workflow.export.onnx_job import OnnxJob

log = logging.getLogger(__name__)

METHODS = ("obs", "magnitude")

IMAGES = 64
"""Most images that reconstruction looks at, spread over the folder."""


def method_of(job: "OnnxJob") -> str | None:
    """How the job prunes: as it says, else `obs` where there are images to calibrate on; None where it does not."""
    if job.sparsity is None:
        return None
    return job.one_shot or ("magnitude" if job.calibrate is None else "obs")


def check_pruning(job: "OnnxJob", target: Target) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: they do not.
    """
    if job.one_shot is not None and job.one_shot not in METHODS:
        raise UsageError(f"--one-shot '{job.one_shot}' is unknown; choose {' or '.join(METHODS)}")
    if job.sparsity is None and (job.one_shot is not None or job.structure != "single"):
        raise UsageError("--one-shot and --structure say how to prune; give --sparsity SHARE as well")
    if job.structure == "filter":
        raise UsageError(
            "--structure filter takes whole output channels away, which a network only stands when it is trained on: "
            "search it with find-ticket and pruning.structure: filter. Channels of the file that are zero already "
            "are removed without being asked for"
        )
    if job.one_shot == "obs" and job.calibrate is None:
        raise UsageError(
            "--one-shot obs looks at what reaches each layer; give --calibrate DIR with some tens of images"
        )
    if method_of(job) == "magnitude" and job.structure != "single":
        raise UsageError(f"--structure {job.structure} is for --one-shot obs; give --calibrate DIR")
    if target.values == "int8" and job.calibrate is None:
        raise UsageError("--values int8 takes the ranges of activations from images; give --calibrate DIR")
    if target.values != "int8" and job.calibrate is not None and method_of(job) != "obs":
        raise UsageError("--calibrate goes with --values int8, or with --sparsity and --one-shot obs")


def pruned(
    normalized: "NormalizedModel", job: "OnnxJob", decoder: "Decoder | None"
) -> "tuple[NormalizedModel, dict[str, LayerLoss]]":
    """A normalized model as the job wants it pruned, and what reconstruction did to each layer.

    Raises:
        UsageError, DataError, ArtifactError: see `prune_onnx` and `OneShot`.
    """
    from lth_deploy.compiler.one_shot.magnitude import prune_onnx

    method = method_of(job)
    if job.sparsity is None or method is None:
        return normalized, {}
    if method == "magnitude":
        model, report = prune_onnx(normalized, job.sparsity, exclude=job.exclude)
    else:
        model, report = _reconstructed(normalized, job.sparsity, job, decoder)
    log.info("%d of %d weights are zero after pruning", report.zeros, report.elements)
    for name, reason in report.left.items():
        log.info("%s was left as it is: %s", name, reason)
    return model, report.losses


def _reconstructed(
    normalized: "NormalizedModel", sparsity: float, job: "OnnxJob", decoder: "Decoder | None"
) -> "tuple[NormalizedModel, PruneReport]":
    from lth_deploy.compiler.one_shot.reconstruct import OneShot

    feeds = calibration_feeds(job, decoder, IMAGES)
    return OneShot(normalized, feeds, exclude=job.exclude, structure=job.structure).prune(sparsity)


def loss_rows(losses: "Mapping[str, LayerLoss]") -> list[list[str]]:
    """A table of what reconstruction did to each layer, header first."""
    header = ["layer", "weights", "zeros %", "error %", "by magnitude %"]
    rows = [
        [
            name,
            f"{one.elements:,}",
            *(f"{100 * x:.1f}" for x in (one.zeros / one.elements, one.error, one.magnitude_error)),
        ]
        for name, one in losses.items()
    ]
    return [header, *rows]
