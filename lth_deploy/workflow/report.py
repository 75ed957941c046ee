"""The verb `report`: one self-contained HTML page from a run, a sweep, or the results of a benchmark."""

import shlex
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.data.images import read_image
from lth_deploy.errors import DataError, UsageError
from lth_deploy.measure.results import BenchmarkResults, load_benchmark
from lth_deploy.reporting import plots
from lth_deploy.reporting.drawing.svg import standalone
from lth_deploy.reporting.page import Source, render
from lth_deploy.reporting.run.example_images import embed_example_images
from lth_deploy.reporting.sweep import plots as sweep_plots
from lth_deploy.run.directory import verify_summary
from lth_deploy.run.summary import RunSummary, load_run
from lth_deploy.run.sweep_record import load_sweep_record

SUMMARY = "summary.json"
BENCHMARK = "benchmark.json"
SWEEP = "sweep.json"


def report(source: Path, out: Path, *, benchmark: Path | None = None) -> Path:
    """Write the page about `source` to `out`, and return `out`.

    source: a run or sweep directory, its summary, or the JSON of a benchmark. A run directory is searched for its own
    benchmark.json, at the top or under export/; `benchmark` names another one.

    Raises:
        DataError: a file is damaged or of another kind.
        UsageError: there is nothing to report on.
    """
    storage.write_text(out, render(_gather(source, benchmark)))
    return out


def plot(source: Path, out: Path, *, split: str = "test") -> Path:
    """Write AP against sparsity of a run as one SVG file, for documents; return `out`.

    Raises:
        UsageError: no trial has AP on this split ('val' or 'test').
    """
    run, _ = load_run(source / SUMMARY if source.is_dir() else source)
    drawn = plots.ap_against_sparsity(run, split, run.main_kind)
    if drawn is None:
        raise UsageError(f"{source}: no trial has AP on '{split}'; try the other split")
    storage.write_text(out, standalone(drawn))
    return out


def write_sweep_pages(directory: Path) -> None:
    """Write plot.svg, plot.png and report.html of a sweep into its directory; no plot before there is AP."""
    sweep, _ = load_sweep_record(directory / SWEEP)
    drawn, pixels = sweep_plots.ap_of_sweep(sweep), sweep_plots.ap_of_sweep_png(sweep)
    if drawn is not None and pixels is not None:
        storage.write_text(directory / "plot.svg", standalone(drawn))
        storage.write_bytes(directory / "plot.png", pixels)
    report(directory, directory / "report.html")


def _gather(source: Path, benchmark: Path | None) -> Source:
    if _is_sweep(source):
        return _gather_sweep(source / SWEEP if source.is_dir() else source)
    run_file, bench_file = _files(source)
    bench_file = benchmark or bench_file
    run, results = None, None
    data: dict[str, Any] = {}
    if run_file:
        verify_summary(run_file)
        run, data["run"] = load_run(run_file)
    if bench_file:
        results, data["benchmark"] = load_benchmark(bench_file)
    example_images, warnings = (
        embed_example_images(run.pictures, run_file.parent, read_image) if run and run_file else ([], [])
    )
    return Source(
        title=_title(run, source),
        run=run,
        benchmark=results,
        example_images=example_images,
        warnings=warnings,
        commands=_commands(source, run, results),
        data=data,
    )


def _is_sweep(source: Path) -> bool:
    return (source / SWEEP).is_file() if source.is_dir() else source.name == SWEEP


def _gather_sweep(file: Path) -> Source:
    sweep, data = load_sweep_record(file)
    again = ["lth-deploy", "sweep", str(data.get("source", "SWEEP.yaml")), "--out", str(file.parent), "--resume"]
    return Source(title=sweep.name or file.parent.name, sweep=sweep, commands=[_line(again)], data={"sweep": data})


def _files(source: Path) -> tuple[Path | None, Path | None]:
    """The summary and the benchmark that belong to `source`, either of which may be missing."""
    if source.is_dir():
        summary = source / SUMMARY
        places = [source / BENCHMARK, *sorted((source / "export").glob("benchmark*.json"))]
        found = next((place for place in places if place.is_file()), None)
        if not summary.is_file() and found is None:
            raise UsageError(
                f"{source} holds neither {SUMMARY} nor {BENCHMARK}; give a run, or the JSON of a benchmark"
            )
        return (summary if summary.is_file() else None), found
    document = storage.read_json(source)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == "lth-run/1":
        return source, None
    if schema == "lth-benchmark/1":
        return None, source
    raise DataError(f"{source} is neither a run summary nor the JSON of a benchmark: its schema is {schema!r}")


def _title(run: RunSummary | None, source: Path) -> str:
    name = run.recipe.get("name") if run else None
    return name if isinstance(name, str) and name else source.resolve().stem


def _commands(source: Path, run: RunSummary | None, results: BenchmarkResults | None) -> list[str]:
    """The recorded commands; for a run without one, the commands that repeat it from its own recipe."""
    commands = []
    if run:
        recipe = source / "recipe.yaml" if source.is_dir() else source.parent / "recipe.yaml"
        commands.append(_line(run.command or ["lth-deploy", "find-ticket", str(recipe), "--out", f"{source}-again"]))
        if source.is_dir():
            commands.append(_line(["lth-deploy", "export", str(source), "--level", "best"]))
    if results and results.command:
        commands.append(_line(results.command))
    elif results:
        paths = list(dict.fromkeys(row.path for row in results.rows if row.path))
        commands.append(_line(["lth-deploy", "benchmark", *paths, "--data", "ANN.json", "--images", "DIR"]))
    return commands


def _line(command: str | list[str]) -> str:
    return command if isinstance(command, str) else shlex.join(command)
