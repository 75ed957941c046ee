"""`export`: a trial of a run, compiled into one ONNX file, with its dense control beside it."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.errors import GateError, UsageError
from lth_deploy.pruning.search.plan import control_of, level_name
from lth_deploy.run.callbacks import Callback
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.run.summary import load_run
from lth_deploy.workflow.export.folder import Signer, export_folder
from lth_deploy.workflow.gates.detections import GateResult
from lth_deploy.workflow.machine_costs import with_machine_costs
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.tracking import callbacks_of

if TYPE_CHECKING:
    from lth_deploy.workflow.export.run_source import TrialSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportResult:
    """The files written: the artifact and the dense control, with what the gate saw on each."""

    trial: str
    artifact: Path
    dense: Path
    gate: GateResult
    dense_gate: GateResult
    bytes: int
    dense_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trial": self.trial,
            "artifact": {"path": str(self.artifact), "bytes": self.bytes},
            "dense": {"path": str(self.dense), "bytes": self.dense_bytes},
            "parity": self.gate.parity.describe(),
            "images": self.gate.images,
            "torch_ap": self.gate.torch_ap,
            "artifact_ap": self.gate.file_ap,
            "dense_ap": self.dense_gate.file_ap,
            "unreached_regions": list(self.gate.unreached),
            "not_packed": dict(self.gate.not_packed),
            "int8_macs": self.gate.int8_macs,
        }


def export(
    run: Path,
    *,
    level: str = "best",
    target: Target | None = None,
    out: Path | None = None,
    calibrate: Path | None = None,
    sign: Signer | None = None,
    callbacks: Sequence[Callback] = (),
) -> ExportResult:
    """Compile a ticket of the run directory `run` into `out` (default RUN/export).

    Args:
        run: a run directory.
        level: best (the winning ticket, fine-tuned if the run did that and int8 is written), a sparsity in per cent,
            or the name of a trial.
        target: what to write; default packed fp16 for ONNX Runtime.
        out: folder for model.onnx and dense.onnx. Files appear there in one step, after every gate was passed.
        calibrate: folder of images for `values: int8`; default the images that the run was trained on.
        sign: makes the signature of the record, see `signing`.
        callbacks: their `export` is called, and that of those that the recipe names in `tracking`.

    Raises:
        DataError: no run, or damaged files in it.
        UsageError: the run has no such level, or is of a classifier.
        GateError: `best` is asked for and no level won, or quantization costs more AP than the target allows.
        ParityError: the file does not compute what the trained model computes, or names other classes.
    """
    directory = RunDirectory.open(run)
    require_torch("exporting a run")
    recipe, target = directory.recipe(), with_machine_costs(target or Target())
    _check(run, recipe, target, calibrate)
    followed = callbacks_of(recipe.tracking, run, callbacks)
    trial = choose_trial(directory, level, int8=target.values == "int8")
    out = out or run / "export"
    from lth_deploy.workflow.export.run_source import open_trial, searched_in

    searched = searched_in(directory)
    with export_folder(out, 4 * trial.weights.stat().st_size) as folder:
        dense = folder.staged / "dense.onnx"
        control = directory.trial(control_of(recipe))
        dense_gate = _written(open_trial(searched, control, _dense_target(target)), dense)
        file = folder.staged / ("model.onnx" if target.format == "packed" else f"model-{target.format}.onnx")
        gate = _written(open_trial(searched, trial, target, dense=dense, calibrate=calibrate), file)
        sizes = (file.stat().st_size, dense.stat().st_size)
        result = ExportResult(trial.name, out / file.name, out / dense.name, gate, dense_gate, *sizes)
        folder.commit([dense, file], result.as_dict(), sign)
    followed.export(run, trial.name, [result.artifact, result.dense])
    return result


def _check(run: Path, recipe: Recipe, target: Target, calibrate: Path | None) -> None:
    if calibrate is not None and target.values != "int8":
        raise UsageError("export: --calibrate goes with --values int8")
    if recipe.detector.source == "own_trainer":
        raise UsageError(
            f"{run} holds tickets of a network that search_ticket was given, and that cannot be built here; take one "
            "with lth_deploy.load_ticket(run, model), write model with torch.onnx.export, and pack the file with "
            "export --onnx"
        )
    if recipe.detector.name == "classifier":
        raise UsageError(
            f"{run} holds tickets of a classifier, which serve detectors as 'source.run' of a recipe; export takes "
            "runs of detectors"
        )


def _written(source: "TrialSource", file: Path) -> GateResult:
    """Export a source to `file`; what the gates saw."""
    from lth_deploy.compiler.model.grouped_reasons import not_packed
    from lth_deploy.workflow.export.pipeline import export_source

    gated = export_source(source, file)
    size, parity = file.stat().st_size, gated.parity.parity.describe()
    log.info("%s as %s: %.2f MB, %s", source.trial.name, source.target.format, size / 1e6, parity)
    results = gated.written.compiled.results
    reasons = not_packed(results.layers)
    return replace(gated.parity, unreached=gated.unreached, not_packed=reasons, int8_macs=results.int8_macs)


def _dense_target(target: Target) -> Target:
    """The dense control in plain ONNX, held to the same gates."""
    return Target(name="dense control", format="dense", values="fp32", opset=target.opset, gates=target.gates)


def choose_trial(run: RunDirectory, level: str, *, int8: bool = False) -> Trial:
    """The trial that `--level` means, the fine-tuned winner where `int8`; see `export` for what is raised."""
    finished = [trial.name for trial in run.finished_trials()]
    if level == "best":
        run.verify_summary()
        winner = load_run(run.summary)[0].winner if run.summary.exists() else None
        if winner is None:
            raise GateError(
                f"{run.path} has no winning ticket: no finished level is within the tolerance of the dense control; "
                f"name one with --level ({', '.join(finished) or 'none is finished'})"
            )
        level = winner.trial
        if int8 and f"{level}_int8" in finished:
            level = f"{level}_int8"
    name = level if level in finished else f"level_{level.removesuffix('%')}"
    if name not in finished:
        with contextlib.suppress(ValueError):
            name = level_name("level", float(level) if float(level) < 1 else float(level) / 100)
    if name not in finished:
        raise UsageError(f"{run.path} has no finished level '{level}'; finished: {', '.join(finished)}")
    return run.trial(name)
