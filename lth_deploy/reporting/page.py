"""The report page: gathers verdict, plots and tables, and fills the template."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.reporting import cost_plots, number_text, plots
from lth_deploy.reporting.benchmark import pareto_fronts
from lth_deploy.reporting.benchmark import tables as benchmark_tables
from lth_deploy.reporting.benchmark.condition_plots import condition_plots
from lth_deploy.reporting.cost_plots import Bar
from lth_deploy.reporting.drawing.html import render_page
from lth_deploy.reporting.run import tables as run_tables
from lth_deploy.reporting.run.example_images import EmbeddedImage
from lth_deploy.reporting.sweep import plots as sweep_plots
from lth_deploy.reporting.sweep import tables as sweep_tables
from lth_deploy.reporting.verdict import Verdict, baseline_of, best_file, judge_benchmark, judge_run, judge_sweep
from lth_deploy.run.summary import RunSummary, TrialSummary
from lth_deploy.run.sweep_record import SweepRecord


@dataclass(frozen=True)
class Source:
    """Everything that a page is made from. data: clean JSON data to embed, for instance {'run': ...}."""

    title: str
    run: RunSummary | None = None
    benchmark: BenchmarkResults | None = None
    sweep: SweepRecord | None = None
    example_images: Sequence[EmbeddedImage] = ()
    warnings: Sequence[str] = ()
    commands: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def render(source: Source) -> str:
    """The whole page as HTML text. Same source, same text."""
    context: dict[str, Any] = {
        "source": source,
        "verdicts": _verdicts(source),
        "tiles": _tiles(source),
        "warnings": _warnings(source),
        "environment": _environment(source),
        **(_run_parts(source.run) if source.run else {"run": None}),
        **(_benchmark_parts(source.benchmark) if source.benchmark else {"bench": None}),
        **_cost_plots(source),
        **(_sweep_parts(source.sweep) if source.sweep else {"sweep": None}),
    }
    return render_page("report.html", source.title, context, source.data)


def _verdicts(source: Source) -> list[Verdict]:
    verdicts = [judge_run(source.run)] if source.run else []
    verdicts += [judge_benchmark(source.benchmark)] if source.benchmark else []
    return verdicts + ([judge_sweep(source.sweep)] if source.sweep else [])


def _tiles(source: Source) -> list[tuple[str, str, str]]:
    """Label, figure and remark of the large numbers under the verdict."""
    tiles = []
    run = source.run
    ticket = run.trial(run.winner.trial) if run and run.winner else None
    if run and ticket:
        split = "test" if ticket.ap("test", run.main_kind) is not None else "val"
        dense = run.control.ap(split, run.main_kind) if run.control else None
        tiles = [
            (f"AP on {split}", number_text.ap(ticket.ap(split, run.main_kind)), f"dense {number_text.ap(dense)}"),
            ("Zero weights", number_text.percent(ticket.zeros), f"{number_text.percent(ticket.sparsity_all)} of all"),
            ("Zero MACs", number_text.percent(ticket.zero_macs), "saved at best"),
        ]
    best = best_file(source.benchmark) if source.benchmark else None
    if source.benchmark and best:
        base = baseline_of(best, source.benchmark.rows)
        remark = f"dense {number_text.size(base.bytes)}" if base else best.name
        tiles.append(("Packed file", number_text.size(best.bytes), remark))
        if best.p50 is not None:
            remark = f"dense {number_text.milliseconds(base.p50)} ms" if base else best.engine
            tiles.append(("Median latency", f"{number_text.milliseconds(best.p50)} ms", remark))
    return tiles


def _warnings(source: Source) -> list[str]:
    found = list(source.warnings)
    if source.run:
        found += source.run.notes
        if not any(trial.test for trial in source.run.trials):
            found.append("No trial was measured on test: AP on val is flattered by the choice of the level.")
    found += [f"Not measured: {reason}" for reason in source.benchmark.left_out] if source.benchmark else []
    noted: dict[str, list[str]] = {}
    for row in source.benchmark.rows if source.benchmark else []:
        for note in row.notes:
            noted.setdefault(note, []).append(f"{row.name} ({row.engine_label})")
    found += [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in noted.items()]
    for one in source.sweep.rows if source.sweep else []:
        found += [f"{one.id} was lost: {one.error}"] if one.error else []
    return list(dict.fromkeys(found))


def _run_parts(run: RunSummary) -> dict[str, Any]:
    curves = [
        plots.ap_against_sparsity(run, split, kind)
        for kind in sorted(run.kinds, key=lambda kind: kind != run.main_kind)
        for split in ("val", "test")
    ]
    ticket = run_tables.shown_ticket(run)
    return {
        "run": run,
        "recipe_text": json.dumps(run.recipe, indent=2, ensure_ascii=False) if run.recipe else "",
        "curves": [curve for curve in curves if curve],
        "trials": run_tables.trials(run) if run.trials else None,
        "metrics": run_tables.metrics(run),
        "ticket": ticket,
        "parts": run_tables.parts(run),
        "layers": run_tables.layers(run),
        "layer_plots": _layer_plots(ticket) if ticket else [],
        "losses": plots.losses(run),
    }


def _layer_plots(ticket: TrialSummary) -> list[str]:
    weights = [
        Bar(layer.name, layer.group, layer.elements, layer.zeros / max(1, layer.elements)) for layer in ticket.layers
    ]
    macs = [
        Bar(bar.label, bar.group, bar.width * (layer.positions or 0), bar.zeros)
        for bar, layer in zip(weights, ticket.layers, strict=True)
    ]
    found = [
        cost_plots.layers(weights, "layer-weights", "share of all weights, %"),
        cost_plots.layers(macs, "layer-macs", "share of all multiplications, %"),
    ]
    return [plot for plot in found if plot]


def _benchmark_parts(results: BenchmarkResults) -> dict[str, Any]:
    return {
        "bench": benchmark_tables.main(results) if results.rows else None,
        "bench_bytes": benchmark_tables.bytes_table(results) if results.rows else None,
        "bench_latencies": benchmark_tables.latencies(results),
        "bench_metrics": benchmark_tables.metrics(results),
        "bench_hosts": benchmark_tables.hosts(results),
        "bench_conditions": condition_plots(results),
    }


def _sweep_parts(sweep: SweepRecord) -> dict[str, Any]:
    drawn = [sweep_plots.ap_of_sweep(sweep), sweep_plots.early_masks(sweep)]
    return {
        "sweep": sweep,
        "sweep_plots": [plot for plot in drawn if plot],
        "sweep_rows": sweep_tables.rows(sweep),
        "sweep_runs": sweep_tables.runs(sweep),
    }


def _cost_plots(source: Source) -> dict[str, Any]:
    """Plots of AP against cost, and of bytes: of measured files, else of what the masks let one expect.

    Plots stand in pairs: AP against bytes joins the plots of latency where they are odd in number.
    """
    results, latency, by_size = source.benchmark, list[str | None](), None
    if results:
        for number, (threads, points) in enumerate(benchmark_tables.latency_points(results).items()):
            label = f"median latency, ms, {number_text.threads(threads)}"
            latency.append(pareto_fronts.pareto(points, f"front-{number}", label))
        by_size = pareto_fronts.pareto(benchmark_tables.size_points(results), "front-size", "file size, MB")
    stacks = benchmark_tables.size_stacks(results) if results else []
    measured = bool(stacks)
    ticket = run_tables.shown_ticket(source.run) if source.run else None
    if not measured and source.run and ticket:
        stacks = benchmark_tables.expected_stacks(source.run, ticket)
    beside = by_size is not None and len(latency) % 2 == 0
    upper = latency if beside else [*latency, by_size]
    lower = [cost_plots.sizes(stacks, wide=not beside), by_size if beside else None]
    return {
        "pareto_plots": [plot for plot in upper if plot],
        "sizes": [plot for plot in lower if plot],
        "sizes_measured": measured,
    }


def _environment(source: Source) -> list[tuple[str, list[tuple[str, str]]]]:
    """Named groups of keys and values about data, machine and versions."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    if source.run:
        run = source.run
        entries = [(f"images, {split}", getattr(run.dataset, split)) for split in ("train", "val", "test")]
        entries += [("parameters", run.parameters.total), ("prunable", run.parameters.prunable)]
        present = [(key, number_text.count(value)) for key, value in entries if value is not None]
        present.append(("classes", ", ".join(run.dataset.classes) or number_text.MISSING))
        present.append(("recipe digest", run.recipe_digest or number_text.MISSING))
        groups += [("Run", present), ("Versions of the run", _flat(run.versions))]
    if source.benchmark:
        results = source.benchmark
        machine = {key: value for key, value in results.machine.model_dump().items() if value}
        machine = {"when": results.when, **machine} if results.when else machine
        groups += [("Machine of the benchmark", _flat(machine))]
        groups += [
            ("Versions of the benchmark", _flat(results.versions)),
            ("Settings", _flat(results.settings)),
        ]
    return [(name, entries) for name, entries in groups if entries]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    entries = []
    for key, value in values.items():
        if isinstance(value, dict):
            entries += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            entries.append((prefix + key, ", ".join(str(item) for item in value)))
        elif isinstance(value, int) and key.endswith(("memory", "bytes")):
            entries.append((prefix + key, number_text.size(min(value, 2**60))))
        elif value is not None:
            entries.append((prefix + key, str(value)))
    return entries
