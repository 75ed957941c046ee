"""What a benchmark found, as checked models that go to JSON and back without loss."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lth_deploy.measure.latency import Ratio, Summary
from lth_deploy.measure.machine import Machine
from lth_deploy.measure.reports import checked_json

RowKind = Literal["dense", "packed", "int8", "coo", "foreign"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Latency(_Part):
    """Milliseconds of one inference; `blocks` says how the samples, in order, were grouped in rounds."""

    p50: float
    p90: float
    mean: float
    min: float
    n: int
    samples: list[float]
    blocks: list[int] = []

    @classmethod
    def of(cls, summary: Summary, blocks: list[int]) -> "Latency":
        """From a summary of timed blocks."""
        return cls(
            p50=summary.p50,
            p90=summary.p90,
            mean=summary.mean,
            min=summary.min,
            n=summary.n,
            samples=list(summary.samples),
            blocks=blocks,
        )


class RatioInterval(_Part):
    """Time over the baseline's (below 1 is faster), with a 95 % bootstrap interval over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratio: Ratio) -> "RatioInterval":
        """From a paired ratio."""
        return cls(median=ratio.median, low=ratio.low, high=ratio.high)


class ApInterval(_Part):
    """AP of this row minus the baseline's, with a 95 % paired bootstrap interval over images."""

    low: float
    high: float
    mean: float


class SizeParts(_Part):
    """What the bytes of the file are spent on."""

    values: int = 0
    positions: int = 0
    dense: int = 0
    other: int = 0


class Row(_Part):
    """One file on one engine with one number of threads; None is what could not be measured, see `notes`.

    load_ms: each in a fresh process. first_ms and peak_rss_bytes: medians over the same processes;
    base_rss_bytes is the peak before the model was loaded. bytes_coo and entropy_bytes: of the whole file,
    were its weights stored as ONNX sparse initializers, or at the entropy of their positions plus raw
    values. ap: by kind.
    """

    name: str
    path: str
    sha256: str
    kind: RowKind
    engine: str
    engine_version: str
    threads: int
    bytes: int
    bytes_zstd: int | None = None
    bytes_coo: int | None = None
    entropy_bytes: int | None = None
    parts: SizeParts | None = None
    zero_weights: float | None = None
    zero_macs: float | None = None
    load_ms: list[float] = []
    first_ms: float | None = None
    latency_ms: Latency | None = None
    ratio_to_baseline: RatioInterval | None = None
    peak_rss_bytes: int | None = None
    base_rss_bytes: int | None = None
    ap: dict[str, dict[str, float | None]] | None = None
    ap_difference: dict[str, ApInterval] | None = None
    notes: list[str] = []


class BenchmarkResults(_Part):
    """A whole benchmark; `settings` has what the figures depend on besides machine and versions."""

    schema_: Literal["lth-benchmark/1"] = Field("lth-benchmark/1", alias="schema")
    when: str
    machine: Machine
    versions: dict[str, str]
    settings: dict[str, Any] = {}
    command: list[str] | None = None
    rows: list[Row] = []

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)

    def to_data(self) -> dict[str, Any]:
        """Plain data for `storage.write_json`."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal object."""
        return self.model_dump_json(by_alias=True, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "benchmark results") -> "BenchmarkResults":
        """Read results.

        Raises:
            DataError: not JSON, another schema, or a wrong value; the message names `source` and the place.
        """
        return checked_json(cls, text, source, "benchmark --json")
