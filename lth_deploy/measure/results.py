"""What a benchmark measured: one list of fields, written and imported strictly, read by reports tolerantly."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from lth_deploy.documents import TOLERANT, Count, Figure, IfMissing, Metrics, StrictSection, load_document
from lth_deploy.measure.board_results import BlockConditions, EnergyUse, Host, Sustained
from lth_deploy.measure.latency import Ratio, Summary
from lth_deploy.measure.machine import Machine
from lth_deploy.measure.reports import checked_json

SCHEMA: Final = "lth-benchmark/1"
RowKind = Literal["dense", "packed", "int8", "coo", "foreign"]

Text = Annotated[str, IfMissing("")]
MaybeFigure = Annotated[Figure, IfMissing(None)]
MaybeCount = Annotated[Count | None, IfMissing(None)]


class Latency(StrictSection):
    """Milliseconds of one inference; `blocks` says how the samples, in order, were grouped in rounds."""

    p50: MaybeFigure
    p90: MaybeFigure
    mean: MaybeFigure
    min: MaybeFigure
    n: MaybeCount
    p99: Figure = None
    samples: Annotated[list[float], IfMissing([])]
    blocks: list[int] = Field([])

    @classmethod
    def of(cls, summary: Summary, blocks: list[int]) -> "Latency":
        """From a summary of timed blocks."""
        return cls(
            p50=summary.p50,
            p90=summary.p90,
            mean=summary.mean,
            min=summary.min,
            n=summary.n,
            p99=summary.p99,
            samples=list(summary.samples),
            blocks=blocks,
        )


class RatioInterval(StrictSection):
    """A ratio of times with its 95 % bootstrap interval over rounds."""

    median: MaybeFigure
    low: MaybeFigure
    high: MaybeFigure

    @classmethod
    def of(cls, ratio: Ratio) -> "RatioInterval":
        """From a paired ratio."""
        return cls(median=ratio.median, low=ratio.low, high=ratio.high)


class ApInterval(StrictSection):
    """AP of a row minus the baseline's, with a 95 % paired bootstrap interval over images."""

    low: MaybeFigure
    high: MaybeFigure
    mean: MaybeFigure


class SizeParts(StrictSection):
    """What the bytes of the file are spent on."""

    values: Count = 0
    positions: Count = 0
    dense: Count = 0
    other: Count = 0


class Row(StrictSection):
    """One file on one engine with one number of threads; None is what could not be measured, see `notes`.

    load_ms: each in a fresh process. first_ms and peak_rss_bytes: medians over the same processes;
    base_rss_bytes is the peak before the model was loaded. bytes_coo and entropy_bytes: of the whole file,
    were its weights stored as ONNX sparse initializers, or at the entropy of their positions plus raw
    values. precision: fp32, bf16 or int8, in which the engine computes. shape: to which the engine is fixed;
    None for the sizes that the file declares. ratio_to_baseline: time over the baseline's, below 1 is faster.
    times_best_dense: how many times as fast as the best dense engine with as many threads, above 1 is faster;
    best_dense: whether it is that engine. ap: by kind, as a fraction. host, cores: of a benchmark on hosts, which one
    of `BenchmarkResults.hosts`, and to which of its cores the row was pinned. conditions: of each block of runs there.
    sustained: without pauses, for each time that was asked for. read_ms: from an image file to pixels, prepare_ms: from
    those to an input, where the host reads images itself; no part of latency_ms.
    """

    name: str
    path: Text
    sha256: Text
    kind: Annotated[str, IfMissing("dense")]
    engine: Text
    engine_version: Text
    precision: str | None = None
    shape: str | None = None
    threads: MaybeCount
    bytes: MaybeCount
    bytes_zstd: Count | None = None
    bytes_coo: Count | None = None
    entropy_bytes: Count | None = None
    parts: SizeParts | None = None
    zero_weights: Figure = None
    zero_macs: Figure = None
    load_ms: list[Figure] = Field([])
    first_ms: Figure = None
    latency_ms: Latency | None = None
    ratio_to_baseline: RatioInterval | None = None
    times_best_dense: RatioInterval | None = None
    best_dense: bool = False
    peak_rss_bytes: Count | None = None
    base_rss_bytes: Count | None = None
    ap: Metrics | None = None
    ap_difference: dict[str, ApInterval] | None = None
    host: str | None = None
    cores: str | None = None
    conditions: list[BlockConditions] = Field([])
    sustained: list[Sustained] = Field([])
    energy: EnergyUse | None = None
    read_ms: Figure = None
    prepare_ms: Figure = None
    notes: list[str] = Field([])

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str, info: ValidationInfo) -> str:
        if info.context != TOLERANT and kind not in get_args(RowKind):
            raise ValueError(f"the kind of a row is one of {', '.join(get_args(RowKind))}, not {kind!r}")
        return kind

    @property
    def engine_label(self) -> str:
        """The engine, with its precision unless that is fp32, and with the shape to which it is fixed."""
        precision = self.precision if self.precision != "fp32" else None
        return " ".join(part for part in (self.engine, precision, self.shape) if part)

    @property
    def p50(self) -> float | None:
        """Median latency in milliseconds."""
        return self.latency_ms.p50 if self.latency_ms else None

    def ap_of(self, kind: str, metric: str = "AP") -> float | None:
        """AP as a fraction, None where it was not measured."""
        return (self.ap or {}).get(kind, {}).get(metric)


class BenchmarkResults(StrictSection):
    """A whole benchmark; `settings` has what the figures depend on besides machine and versions.

    hosts: the machines of rows that were measured elsewhere, or here in the same way.
    """

    schema_: Literal["lth-benchmark/1"] = Field(SCHEMA, alias="schema")
    when: Text
    machine: Annotated[Machine, IfMissing({})]
    versions: Annotated[dict[str, str], IfMissing({})]
    settings: dict[str, Any] = Field({})
    command: str | list[str] | None = None
    rows: list[Row] = Field([])
    hosts: list[Host] = Field([])

    model_config = ConfigDict(populate_by_name=True)

    @property
    def left_out(self) -> list[str]:
        """What was not measured, and why."""
        found = self.settings.get("left_out")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    def to_data(self) -> dict[str, Any]:
        """Plain data for `storage.write_json`."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal object."""
        return self.model_dump_json(by_alias=True, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "benchmark results") -> "BenchmarkResults":
        """Read results strictly, as `benchmark --import` does.

        Raises:
            DataError: not JSON, another schema, or a wrong value; the message names `source` and the place.
        """
        return checked_json(cls, text, source, "benchmark --json")


def load_benchmark(path: Path) -> tuple[BenchmarkResults, dict[str, Any]]:
    """Read results tolerantly, as a report does; see `load_document` for what is returned and raised."""
    return load_document(path, BenchmarkResults, SCHEMA)
