"""The tables and plotted points about a benchmark: speed and memory, bytes, and AP of every artifact."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from lth_deploy.element_types import FLOAT16, FLOAT32
from lth_deploy.measure.results import ApInterval, BenchmarkResults, RatioInterval, Row
from lth_deploy.reporting import number_text, tables
from lth_deploy.reporting.benchmark.pareto_fronts import Point
from lth_deploy.reporting.cost_plots import Stack
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.tables import Cell, Column, Line, Table
from lth_deploy.reporting.verdict import baseline_of, best_file, main_kind
from lth_deploy.run.summary import RunSummary, TrialSummary

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "VOC07", "VOC10")


def main(results: BenchmarkResults) -> Table:
    """Size, latency and AP of every row."""
    kind = main_kind(results)
    columns = [
        Column("Artifact", is_text=True),
        Column("Engine", is_text=True),
        Column("Host", "machine, and the cores to which the row was pinned"),
        Column("Precision", "in which the engine computes"),
        Column("Shape", "to which the engine is fixed"),
        Column("Threads"),
        Column("Size"),
        Column("AP", KIND_NAMES.get(kind, kind)),
        Column("AP vs baseline", "difference in points with its bootstrap interval over images"),
        Column("p50 ms", "median latency of one image"),
        Column("p90 ms"),
        Column("Images/s", "without a pause, for the longest time that was asked for"),
        Column("J per image", "energy of one image by the counter that is named, with what the host uses without work"),
        Column(
            "Input ms", "reading an image file + preparing the input, on a host that reads images itself; not in p50"
        ),
        Column("Time vs baseline", "median ratio of latencies with its bootstrap interval; below 1 is faster"),
        Column("Times best dense", "how many times as fast as the best dense engine, which has 1; above 1 is faster"),
        Column("Zero weights"),
        Column("Zero MACs", "share of multiplications by a zero weight for one image"),
        Column("Load ms", "median time to open a session"),
        Column("Peak RSS", "largest resident memory of a fresh process"),
    ]
    best = best_file(results)
    lines = [
        Line(
            tuple(_main_cells(row, kind)), row.kind, best is not None and (row.name, row.path) == (best.name, best.path)
        )
        for row in results.rows
    ]
    return tables.compact(columns, lines)


def bytes_table(results: BenchmarkResults) -> Table:
    """The bytes of each file, once for each file."""
    columns = [
        Column("File", is_text=True),
        Column("Size"),
        Column("Smaller than dense", "dense bytes over these bytes"),
        Column("with zstd", "the file compressed by zstd at level 19"),
        Column("as COO", "the same zeros as ONNX sparse_initializer"),
        Column("entropy bound", "entropy of the positions plus the raw values: no coding can be smaller"),
        Column("values"),
        Column("positions"),
        Column("dense tensors"),
    ]
    lines = []
    for row in files(results.rows):
        base = baseline_of(row, results.rows)
        ratio = base.bytes / row.bytes if base and base.bytes and row.bytes else None
        parts = row.parts
        cells = [
            tables.text(row.name),
            tables.size(row.bytes),
            Cell(number_text.times(ratio), ratio),
            *(tables.size(value) for value in (row.bytes_zstd, row.bytes_coo, row.entropy_bytes)),
            *(tables.size(value) for value in ((parts.values, parts.positions, parts.dense) if parts else (None,) * 3)),
        ]
        lines.append(Line(tuple(cells), row.kind))
    return tables.compact(columns, lines)


def latencies(results: BenchmarkResults) -> Table | None:
    """Every latency figure of every row; None when no latency was measured."""
    columns = [Column("Artifact", is_text=True), Column("Engine", is_text=True), Column("Threads")]
    columns += [
        Column("p50 ms"),
        Column("p90 ms"),
        Column("mean ms"),
        Column("min ms"),
        Column("n", "samples"),
        Column("First ms", "first inference of a fresh process"),
    ]
    lines = []
    for row in results.rows:
        if row.latency_ms is None:
            continue
        times = (row.latency_ms.p50, row.latency_ms.p90, row.latency_ms.mean, row.latency_ms.min)
        cells = [
            tables.text(row.name),
            tables.text(row.engine_label, row.engine_version),
            tables.count(row.threads),
            *(tables.milliseconds(value) for value in times),
            tables.count(row.latency_ms.n),
            tables.milliseconds(row.first_ms),
        ]
        lines.append(Line(tuple(cells), row.kind))
    return tables.compact(columns, lines) if lines else None


def metrics(results: BenchmarkResults) -> Table | None:
    """Every AP figure of every artifact; None when no AP was measured."""
    columns = [Column("Artifact", is_text=True), Column("Engine", is_text=True), Column("Kind", is_text=True)]
    columns += [Column(metric) for metric in _METRICS]
    lines = [
        Line(
            (
                tables.text(row.name),
                tables.text(row.engine_label),
                tables.text(KIND_NAMES.get(kind, kind)),
                *(tables.ap(row.ap_of(kind, metric)) for metric in _METRICS),
            ),
            row.kind,
        )
        for row in results.rows
        for kind in sorted(row.ap or {})
    ]
    return tables.compact(columns, lines) if lines else None


def files(rows: Sequence[Row]) -> list[Row]:
    """The rows, one for each file."""
    first: dict[tuple[str, str, float | None], Row] = {}
    for row in rows:
        first.setdefault((row.name, row.path, row.bytes), row)
    return list(first.values())


def latency_points(results: BenchmarkResults) -> dict[int | None, list[Point]]:
    """Points of AP against median latency, one list for each number of threads."""
    kind = main_kind(results)
    by_threads: dict[int | None, list[Point]] = {}
    for row in results.rows:
        found, p50 = row.ap_of(kind), row.p50
        if found is None or p50 is None:
            continue
        tip = f"{row.name}, {_series(row)}: AP {number_text.ap(found)}, {number_text.milliseconds(p50)} ms"
        by_threads.setdefault(row.threads, []).append(Point(row.name, _series(row), p50, found, tip))
    return by_threads


def size_points(results: BenchmarkResults) -> list[Point]:
    """Points of AP against megabytes, one for each file."""
    kind, points = main_kind(results), []
    for row in files(results.rows):
        found = row.ap_of(kind)
        if found is not None and row.bytes is not None:
            tip = f"{row.name}: AP {number_text.ap(found)}, {number_text.size(row.bytes)}"
            points.append(Point(row.name, row.kind, row.bytes / 1e6, found, tip))
    return points


def size_stacks(results: BenchmarkResults) -> list[Stack]:
    """Where the bytes of each measured file go; files whose parts are unknown are one block."""
    stacks = []
    for row in files(results.rows):
        parts = row.parts
        if parts:
            named = {"values": parts.values, "positions": parts.positions, "dense tensors": parts.dense}
            stacks.append(Stack(row.name, {**named, "graph and metadata": parts.other}))
        elif row.bytes:
            stacks.append(Stack(row.name, {"file": row.bytes}))
    return stacks


def expected_stacks(run: RunSummary, ticket: TrialSummary) -> list[Stack]:
    """What a ticket's masks let one expect before anything is exported: values and entropy of the positions.

    The parameters that are not in `ticket.layers` stay dense in 32 bit.
    """
    weights = sum(layer.elements for layer in ticket.layers)
    kept = sum(layer.elements - layer.zeros for layer in ticket.layers)
    rest = 4 * max(0, (run.parameters.total or weights) - weights)
    positions = sum(_entropy_bytes(layer.elements, layer.zeros) for layer in ticket.layers)
    stacks = [Stack("dense, fp32", {"dense tensors": 4 * weights + rest})]
    for kind in (FLOAT32, FLOAT16):
        parts = {"values": float(np.dtype(kind.numpy).itemsize * kept), "positions": positions, "dense tensors": rest}
        stacks.append(Stack(f"{ticket.name}, {kind.short} values", parts))
    return stacks


def _entropy_bytes(elements: int, zeros: int) -> float:
    from math import log2

    if not 0 < zeros < elements:
        return 0.0
    share = zeros / elements
    return -elements * (share * log2(share) + (1 - share) * log2(1 - share)) / 8


def _main_cells(row: Row, kind: str) -> list[Cell]:
    loads = [value for value in row.load_ms if value is not None]
    return [
        tables.text(row.name, "" if row.kind in row.name else row.kind),
        tables.text(row.engine),
        tables.text(row.host or "", row.cores or ""),
        tables.text(row.precision or ""),
        tables.text(row.shape or ""),
        tables.count(row.threads),
        tables.size(row.bytes),
        tables.ap(row.ap_of(kind)),
        _difference((row.ap_difference or {}).get(kind)),
        tables.milliseconds(row.p50),
        tables.milliseconds(row.latency_ms.p90 if row.latency_ms else None),
        _sustained(row),
        _energy(row),
        _input(row),
        _ratio(row.ratio_to_baseline),
        _ratio(row.times_best_dense),
        tables.percent(row.zero_weights),
        tables.percent(row.zero_macs),
        tables.milliseconds(median(loads) if loads else None),
        tables.size(row.peak_rss_bytes),
    ]


def hosts(results: BenchmarkResults) -> Table | None:
    """The machines of a benchmark on hosts; None without any."""
    columns = [Column("Host", is_text=True), Column("Board", is_text=True), Column("Processor", is_text=True)]
    columns += [Column("Cores"), Column("System", is_text=True), Column("ONNX Runtime", is_text=True)]
    columns += [Column("Programs", "bytes that were copied there, without models")]
    lines = [
        Line(
            (
                tables.text(host.name, "emulated: no times" if host.emulated else ""),
                tables.text(host.board),
                tables.text(host.machine.cpu, " ".join(host.machine.isa)),
                tables.count(host.machine.cores),
                tables.text(host.machine.os),
                tables.text(host.onnxruntime),
                tables.size(sum(size or 0 for size in host.programs.values()) or None),
            )
        )
        for host in results.hosts
    ]
    return tables.compact(columns, lines) if lines else None


def _series(row: Row) -> str:
    return f"{row.engine_label}, {row.host}" if row.host else row.engine_label


def _sustained(row: Row) -> Cell:
    longest = max(row.sustained, key=lambda one: one.seconds or 0.0, default=None)
    if longest is None or longest.per_second is None:
        return Cell(number_text.MISSING)
    first, last = longest.first_per_second, longest.last_per_second
    change = "" if first is None or last is None else f"{first:.3g} at first, {last:.3g} in the end"
    return Cell(f"{longest.per_second:.3g}", longest.per_second, f"{longest.seconds or 0:.0f} s: {change}")


def _input(row: Row) -> Cell:
    if row.read_ms is None or row.prepare_ms is None:
        return Cell(number_text.MISSING)
    both = row.read_ms + row.prepare_ms
    parts = f"{number_text.milliseconds(row.read_ms)} + {number_text.milliseconds(row.prepare_ms)}"
    return Cell(number_text.milliseconds(both), both, parts)


def _energy(row: Row) -> Cell:
    used = row.energy
    if used is None or used.joules is None:
        return Cell(number_text.MISSING)
    parts = [f"{used.source} {' + '.join(used.counters)}".strip()]
    parts += [] if used.idle_watts is None else [f"{used.idle_watts:.3g} W idle"]
    parts += [f"{name}: {value:.3g} J" for name, value in used.beside.items() if value is not None]
    return Cell(f"{used.joules:.3g}", used.joules, ", ".join(part for part in parts if part))


def _difference(found: ApInterval | None) -> Cell:
    if found is None or found.mean is None:
        return Cell(number_text.MISSING)
    has_interval = found.low is not None and found.high is not None
    return tables.points(
        found.mean, f"{number_text.points(found.low)} … {number_text.points(found.high)}" if has_interval else ""
    )


def _ratio(ratio: RatioInterval | None) -> Cell:
    if ratio is None or ratio.median is None:
        return Cell(number_text.MISSING)
    has_interval = ratio.low is not None and ratio.high is not None
    note = f"{ratio.low:.2f} … {ratio.high:.2f}" if has_interval else ""
    return Cell(number_text.times(ratio.median), ratio.median, note)
