"""The verb `analyze`: where a ticket gains and loses beside its dense control, from runs or ONNX files."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.errors import UsageError
from lth_deploy.reporting.analysis.page import drawings, render
from lth_deploy.reporting.analysis.schema import ANALYSIS_SCHEMA, Analysis, RunAnalysis
from lth_deploy.reporting.drawing.svg import standalone
from lth_deploy.run.directory import versions
from lth_deploy.workflow.analyze.mask_pairs import mask_overlaps
from lth_deploy.workflow.analyze.options import AnalyzeOptions
from lth_deploy.workflow.require_extra import require_torch

if TYPE_CHECKING:
    from lth_deploy.workflow.analyze.onnx_files import OpenedFiles
    from lth_deploy.workflow.analyze.run_inputs import OpenedRun

log = logging.getLogger(__name__)

PAGE, NUMBERS, PLOTS, DETECTIONS = "analysis.html", "analysis.json", "plots", "detections"


def analyze(sources: Sequence[Path], out: Path, options: AnalyzeOptions | None = None) -> Analysis:
    """Analyze run directories and ONNX files; write a page, all figures as JSON, and every plot as SVG into `out`.

    Detections are kept in `out`, so that a second call takes up what is there. ONNX files are compared with each
    other, the first being the control. Masks of all runs are compared in pairs.

    Raises:
        UsageError: nothing to analyze, a run without a finished trial, an unknown split or trial.
        DataError: faulty files or data, or a split without objects.
        ArtifactError: an ONNX file is damaged.
        StorageError: the disk refuses.
    """
    chosen = options or AnalyzeOptions()
    runs = [source for source in sources if source.is_dir()]
    files = [source for source in sources if not source.is_dir()]
    if not sources:
        raise UsageError("analyze: give run directories of find-ticket, or ONNX files")
    names = dict(zip(runs, _names(runs), strict=True))
    if runs:
        require_torch("analyzing runs")
    from lth_deploy.workflow.analyze.onnx_files import open_files
    from lth_deploy.workflow.analyze.run_inputs import open_run

    # Everything is opened before anything is computed, so that the last source cannot fail after an hour.
    opened = [open_run(path, name, chosen.split, chosen.trials, chosen.limit) for path, name in names.items()]
    prepared = open_files(files, chosen, opened[0] if opened else None) if files else None
    with storage.locked(out):
        return _analysis(opened, prepared, out, chosen)


def _analysis(
    opened: "Sequence[OpenedRun]", prepared: "OpenedFiles | None", out: Path, chosen: AnalyzeOptions
) -> Analysis:
    """Compute everything and write it into `out`, which this process holds."""
    from lth_deploy.workflow.analyze.onnx_files import analyze_files

    parts = _analyze_runs(opened, out, chosen)
    if prepared:
        parts.append(analyze_files(prepared, out / DETECTIONS, chosen.samples))
    overlaps, notes = mask_overlaps(opened)
    analysis = Analysis(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(chosen.command),
        versions=versions(),
        runs=parts,
        overlaps=overlaps,
        notes=[*_different_data(opened), *notes],
    )
    _write(analysis, out)
    return analysis


def document(analysis: Analysis) -> dict[str, object]:
    """The analysis as plain JSON values, with its schema."""
    return {"schema": ANALYSIS_SCHEMA, **analysis.as_json()}


def _analyze_runs(opened: "Sequence[OpenedRun]", out: Path, chosen: AnalyzeOptions) -> list[RunAnalysis]:
    if not opened:
        return []
    from lth_deploy.workflow.analyze.run import analyze_run
    from lth_deploy.workflow.search.find_ticket import pick_device

    device = pick_device(chosen.device)
    return [analyze_run(one, out / DETECTIONS, chosen.samples, device) for one in opened]


def _write(analysis: Analysis, out: Path) -> None:
    for name, drawn in drawings(analysis).items():
        storage.write_text(out / PLOTS / f"{name}.svg", standalone(drawn))
    storage.write_json(out / NUMBERS, document(analysis))
    storage.write_text(out / PAGE, render(analysis))
    log.info("written: %s, %s and %s/", out / PAGE, out / NUMBERS, out / PLOTS)


def _names(runs: Sequence[Path]) -> list[str]:
    """Names of folders, with that of the folder above where two are alike.

    Raises:
        UsageError: a run is given twice.
    """
    whole = [path.resolve() for path in runs]
    if len(set(whole)) < len(whole):
        twice = next(path for path in whole if whole.count(path) > 1)
        raise UsageError(f"analyze: {twice} is given twice; give each run once")
    short = [path.name for path in whole]
    return [f"{path.parent.name}-{path.name}" if short.count(path.name) > 1 else path.name for path in whole]


def _different_data(opened: "Sequence[OpenedRun]") -> list[str]:
    if len({one.dataset.digest() for one in opened}) < 2:
        return []
    names = ", ".join(one.name for one in opened)
    return [f"{names} were not all analyzed on the same images and objects: compare AP within a run only."]
