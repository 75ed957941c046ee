"""The benchmark as rows of text, for whoever prints or writes them."""

from collections.abc import Sequence

from lth_deploy.measure.board_results import Host
from lth_deploy.measure.results import BenchmarkResults, RatioInterval, Row

HEADER = [
    *("model", "engine", "precision", "shape", "threads"),
    *("MB", "zstd MB", "COO MB", "bound MB", "zero weights", "zero MACs"),
    *("load ms", "first ms", "p50 ms", "p90 ms", "mean ms", "min ms", "n"),
    *("time / dense", "times best dense", "peak MB"),
]

ABSENT = "-"
HOST_HEADER = ["host", "cores", "p99 ms", "images/s sustained", "J/image", "read ms", "prepare ms"]
"""Columns of a benchmark with rows from hosts, behind the model."""

_AP_NAMES = {"bbox": "AP", "segm": "mask AP", "keypoints": "keypoint AP"}


def table_rows(results: BenchmarkResults) -> list[list[str]]:
    """The header and one line for each row; AP times 100 in one column for each kind that was measured."""
    kinds = [kind for kind in _AP_NAMES if any(row.ap and kind in row.ap for row in results.rows)]
    header = [*HEADER, *(_AP_NAMES[kind] for kind in kinds)]
    lines = [header, *(_cells(row, kinds) for row in results.rows)]
    if not any(row.host for row in results.rows):
        return lines
    more = [HOST_HEADER, *(_host_cells(row) for row in results.rows)]
    return [[first, *there, *others] for (first, *others), there in zip(lines, more, strict=True)]


def table_notes(results: BenchmarkResults) -> list[str]:
    """What the table cannot say: machine, versions, what is left out, and every row's notes."""
    machine = results.machine
    notes = [
        f"{machine.cpu}, {machine.cores} cores, {' '.join(machine.isa)}; {machine.os}; {results.when}",
        ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    ]
    notes += [_host_note(host) for host in results.hosts]
    notes += [f"not measured: {reason}" for reason in results.left_out]
    seen: dict[str, list[str]] = {}
    for row in results.rows:
        for note in row.notes:
            seen.setdefault(note, []).append(_label(row))
    return notes + [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in seen.items()]


def _host_note(host: Host) -> str:
    machine = host.machine
    programs = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in host.programs.items())
    board = f"{host.board}, " if host.board else ""
    return (
        f"{host.name}: {board}{machine.cpu}, {machine.cores} cores, {' '.join(machine.isa)}; {machine.os}; "
        f"ONNX Runtime {host.onnxruntime}; {programs}"
    )


def _cells(row: Row, kinds: Sequence[str]) -> list[str]:
    latency = row.latency_ms
    loads = sorted(value for value in row.load_ms if value is not None)
    times = (
        [_number(value) for value in (latency.p50, latency.p90, latency.mean, latency.min)] + [str(latency.n)]
        if latency
        else [ABSENT] * 5
    )
    return [
        row.name,
        f"{row.engine} {row.engine_version}".strip(),
        row.precision or ABSENT,
        row.shape or ABSENT,
        str(row.threads),
        *(_megabytes(value) for value in (row.bytes, row.bytes_zstd, row.bytes_coo, row.entropy_bytes)),
        _percent(row.zero_weights),
        _percent(row.zero_macs),
        _number(loads[len(loads) // 2]) if loads else ABSENT,
        _number(row.first_ms),
        *times,
        _ratio(row.ratio_to_baseline),
        _ratio(row.times_best_dense),
        _megabytes(row.peak_rss_bytes, digits=0),
        *(_ap(row, kind) for kind in kinds),
    ]


def _host_cells(row: Row) -> list[str]:
    sustained = [_number(one.per_second) for one in row.sustained]
    return [
        row.host or ABSENT,
        row.cores or ABSENT,
        _number(row.latency_ms.p99 if row.latency_ms else None),
        ", ".join(sustained) or ABSENT,
        _number(row.energy.joules if row.energy else None),
        _number(row.read_ms),
        _number(row.prepare_ms),
    ]


def _label(row: Row) -> str:
    place = f", {row.host}" if row.host else ""
    return f"{row.name} ({row.engine_label}, {row.threads} threads{place})"


def _ratio(ratio: RatioInterval | None) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else ABSENT


def _ap(row: Row, kind: str) -> str:
    value = (row.ap or {}).get(kind, {}).get("AP")
    return ABSENT if value is None else f"{value * 100:.1f}"


def _megabytes(value: float | None, digits: int = 2) -> str:
    return ABSENT if value is None else f"{value / 1e6:.{digits}f}"


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{value * 100:.1f} %"


def _number(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return ABSENT
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
