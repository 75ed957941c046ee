"""The verb `export --onnx`: prune and pack any ONNX model, without the code or data that trained it."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lth_deploy import storage
from lth_deploy.config.target import Target
from lth_deploy.errors import DataError
from lth_deploy.workflow.export.commit import RECORD
from lth_deploy.workflow.export.folder import Signer, export_folder
from lth_deploy.workflow.export.onnx_export import OnnxExport
from lth_deploy.workflow.export.onnx_job import OnnxJob
from lth_deploy.workflow.limits.limited_process import run_limited
from lth_deploy.workflow.machine_costs import with_machine_costs

__all__ = ["OnnxExport", "OnnxJob", "export_onnx"]


def export_onnx(
    path: Path,
    job: OnnxJob | None = None,
    *,
    target: Target | None = None,
    out: Path | None = None,
    sign: Signer | None = None,
) -> OnnxExport:
    """Prune and pack the ONNX file `path` into the folder `out` (default: beside it, NAME-export).

    Nothing is written unless the packed file computes what the file as it was given does with the same pruned weights;
    for int8, what a dense graph with them does. Then all of it is written in one step.
    The AP lost against the original is reported, and held to a bound only where the job names one. Where it names a
    bound and no share of zeros, the largest share that keeps it is searched; what was measured stays in the folder that
    is called as `out` with `-search` behind, so that another call goes on with it.
    sign: makes the signature of the record, see `signing`.

    Raises:
        ArtifactError: the model is damaged. UsageError: a job that does not go with the target. ParityError: see above.
        GateError: more AP was lost than allowed, or no share of zeros keeps it. DataError: the dense model has no AP.
        UnexpectedGraphError: the graph is beyond what this program handles.
    """
    job, target = job or OnnxJob(), with_machine_costs(target or Target())
    job.check_target(target)
    out = out if out is not None else path.parent / f"{path.stem}-export"
    arguments = {
        "path": str(path),
        "job": TypeAdapter(OnnxJob).dump_python(job, mode="json"),
        "target": target.model_dump(mode="json"),
    }
    with export_folder(out, 3 * _size(path)) as folder:
        places = {"staged": str(folder.staged), "state": str(_beside(out))}
        record = run_limited(_exported, {**arguments, **places}, f"exporting {path.name}")
        files = [folder.staged / record["dense"], folder.staged / record["artifact"]]
        folder.commit(files, {"target": target.model_dump(mode="json"), **record}, sign)
    return OnnxExport.from_record(record, out)


def _beside(out: Path) -> Path:
    """The folder of what a search has measured; `out` may be the working folder, which has no name of its own."""
    place = out.resolve()
    return place.parent / f"{place.name}-search"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', error)}; give the path of an .onnx file"
        ) from error


def _exported(path: str, job: object, target: object, staged: str, state: str) -> dict[str, Any]:
    """Write and gate an export in the folder `staged`, and return its record: a task for a process with limits.

    state: folder of what a search for the share of zeros has measured.
    """
    # Only the process with limits needs ONNX, so only it loads it.
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.importing.frozen_sizes import with_sizes
    from lth_deploy.compiler.model.unexpected_faults import graph_errors
    from lth_deploy.workflow.export.onnx_source import Places, open_onnx
    from lth_deploy.workflow.export.pipeline import export_source
    from lth_deploy.workflow.export.share_search.of_onnx import searched

    file = Path(path)
    original = load_model(file)
    with graph_errors(file.name), storage.scratch("export") as scratch:
        places = Places(file, Path(staged), scratch)
        options = TypeAdapter(OnnxJob).validate_python(job)
        source = open_onnx(with_sizes(original, options.shapes), options, Target.model_validate(target), places)
        source = searched(source, Path(state)) if options.searches else source
        gated = export_source(source, places.staged / "model.onnx")
        return OnnxExport.of(source, gated, places.staged / RECORD).as_record()
