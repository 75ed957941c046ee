"""The results of a benchmark as a report reads them; see `load_document` for the checks."""

from pathlib import Path
from typing import Any

from pydantic import Field

from lth_deploy.documents import Count, Figure, Metrics, Section, load_document

BENCHMARK_SCHEMA = "lth-benchmark/1"


class Latency(Section):
    """Milliseconds of one inference over `n` samples."""

    p50: Figure = None
    p90: Figure = None
    mean: Figure = None
    min: Figure = None
    n: Count | None = None


class Ratio(Section):
    """This row's latency over the baseline's, with a bootstrap interval: below 1 is faster."""

    median: Figure = None
    low: Figure = None
    high: Figure = None


class Difference(Section):
    """AP of a row minus the baseline's, with its bootstrap interval over images."""

    low: Figure = None
    high: Figure = None
    mean: Figure = None


class SizeParts(Section):
    """What the bytes of a file are spent on."""

    values: Count = 0
    positions: Count = 0
    dense: Count = 0
    other: Count = 0


class Row(Section):
    """One artifact on one engine with one number of threads."""

    name: str
    path: str = ""
    kind: str = "dense"
    engine: str = ""
    engine_version: str = ""
    threads: Count | None = None
    bytes: Figure = None
    bytes_zstd: Figure = None
    bytes_coo: Figure = None
    entropy_bytes: Figure = None
    parts: SizeParts | None = None
    zero_weights: Figure = None
    zero_macs: Figure = None
    load_ms: list[Figure] = Field([])
    first_ms: Figure = None
    latency_ms: Latency | None = None
    ratio_to_baseline: Ratio | None = None
    peak_rss_bytes: Figure = None
    ap: Metrics | None = None
    ap_difference: dict[str, Difference] | None = None
    notes: list[str] = Field([])

    @property
    def p50(self) -> float | None:
        """Median latency in milliseconds."""
        return self.latency_ms.p50 if self.latency_ms else None

    def ap_of(self, kind: str, metric: str = "AP") -> float | None:
        """AP as a fraction, None where it was not measured."""
        return (self.ap or {}).get(kind, {}).get(metric)


class BenchmarkResults(Section):
    """The JSON that `benchmark --json` writes."""

    when: str = ""
    machine: dict[str, Any] = Field({})
    versions: dict[str, Any] = Field({})
    settings: dict[str, Any] = Field({})
    command: str | list[str] | None = None
    rows: list[Row] = Field([])


def load_benchmark(path: Path) -> tuple[BenchmarkResults, dict[str, Any]]:
    """Benchmark results, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, BenchmarkResults, BENCHMARK_SCHEMA)
