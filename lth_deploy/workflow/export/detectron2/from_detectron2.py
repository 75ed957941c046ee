"""The verb `export --detectron2`: a trained detector of detectron2, without detectron2, into one packed ONNX file."""

from dataclasses import replace
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.detectron2.files import Detectron2Files
from lth_deploy.workflow.export.folder import Signer
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.export.onnx_export import OnnxExport
from lth_deploy.workflow.export.onnx_job import OnnxJob
from lth_deploy.workflow.require_extra import require_torch


def export_detectron2(
    files: Detectron2Files,
    job: OnnxJob | None = None,
    *,
    target: Target | None = None,
    out: Path | None = None,
    sign: Signer | None = None,
) -> OnnxExport:
    """Convert a detector of detectron2, and prune and pack it into the folder `out` as `export_onnx` does.

    The default of `out` is beside the checkpoint, NAME-export. The dense graph has to find what the converted network
    finds in torch, on images of the job or on a drawn one, before it is packed.

    Raises:
        MissingExtraError: torch is not installed. DataError: the files cannot be read, do not go together, or ask for
        what torchvision's modules do not have. ParityError: the graph finds something else. Others as `export_onnx`.
    """
    require_torch("reading a checkpoint of detectron2")
    from lth_deploy.workflow.export.detectron2.dense_graph import write_dense  # torch is large

    job, target = job or OnnxJob(), target or Target()
    job.check_target(target)
    out = out if out is not None else files.weights.parent / f"{files.weights.stem}-export"
    with storage.scratch("detectron2") as folder:
        path = folder / f"{files.weights.stem}.onnx"
        write_dense(files, job.images or job.calibrate, target, path)
        # The graph resizes, normalizes and suppresses by itself.
        return export_onnx(path, replace(job, decoder="lth"), target=target, out=out, sign=sign)
