"""What a report reads: the summary of a run and the results of a benchmark; see `load_document` for the checks."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from lth_deploy.reporting.documents import Count, Figure, Metrics, Section, load_document

RUN_SCHEMA = "lth-run/1"
BENCHMARK_SCHEMA = "lth-benchmark/1"


class Layer(Section):
    """One weight tensor of a trial; `positions` is how often each weight is multiplied for one image."""

    name: str
    group: str = "other"
    shape: list[int] = Field([])
    elements: Count
    zeros: Count
    positions: Figure = None

    @model_validator(mode="after")
    def _zeros_are_weights(self) -> Self:
        if self.zeros > self.elements:
            raise ValueError(f"{self.zeros} zeros in {self.elements} weights")
        return self


class Part(Section):
    """One part of the network: its weights, those that may be pruned, and those that are zero."""

    name: str
    paper: str = ""
    weights: Count
    prunable: Count = 0
    zeros: Count = 0


class Trial(Section):
    """One training: the dense control, a ticket, or a control of a ticket; hardware: that it ended on."""

    name: str
    kind: str = "ticket"
    sparsity: Figure = None
    sparsity_prunable: Figure = None
    sparsity_all: Figure = None
    zero_macs: Figure = None
    steps: Count | None = None
    seconds: Figure = None
    hardware: str = ""
    val: Metrics | None = None
    test: Metrics | None = None
    layers: list[Layer] = Field([])
    parts: list[Part] = Field([])
    losses: list[tuple[Count, Figure]] = Field([])

    @property
    def zeros(self) -> float:
        """Share of zeros among the prunable weights, as measured, else as asked for; dense is 0."""
        measured = self.sparsity_prunable if self.sparsity_prunable is not None else self.sparsity
        return min(max(measured or 0.0, 0.0), 1.0)

    def ap(self, split: str, kind: str, metric: str = "AP") -> float | None:
        """AP as a fraction on 'val' or 'test', None where it was not measured."""
        metrics = self.test if split == "test" else self.val
        return (metrics or {}).get(kind, {}).get(metric)


class Winner(Section):
    """The sparsest ticket within the tolerance; `interval` is of its AP minus that of the dense control."""

    trial: str
    control: str | None = None
    tolerance: Figure = None
    dense_val_ap: Figure = None
    val_ap: Figure = None
    test_ap: Figure = None
    dense_test_ap: Figure = None
    interval: tuple[Figure, Figure] | None = None
    interval_split: str = "test"


class PictureFile(Section):
    """An image in the run directory; the path is relative to it."""

    title: str = ""
    path: str


class Dataset(Section):
    """Sizes of the splits, in images, and the names of the classes."""

    classes: list[str] = Field([])
    train: Count | None = None
    val: Count | None = None
    test: Count | None = None


class Parameters(Section):
    """Numbers of weights."""

    total: Count | None = None
    prunable: Count | None = None


class RunSummary(Section):
    """`summary.json` of a run directory."""

    recipe: dict[str, Any] = Field({})
    recipe_digest: str | None = None
    finished: bool = False
    dataset: Dataset = Dataset()
    parameters: Parameters = Parameters()
    trials: list[Trial] = Field([])
    winner: Winner | None = None
    notes: list[str] = Field([])
    pictures: list[PictureFile] = Field([])
    versions: dict[str, Any] = Field({})
    command: str | list[str] | None = None

    @property
    def kinds(self) -> list[str]:
        """Kinds of AP that were measured, boxes first."""
        found = {kind for trial in self.trials for split in (trial.val, trial.test) for kind in split or {}}
        return sorted(found, key=lambda kind: (kind != "bbox", kind != "segm", kind))

    @property
    def selection(self) -> dict[str, Any]:
        """The recipe's rule for choosing the winner."""
        section = self.recipe.get("selection")
        return section if isinstance(section, dict) else {}

    @property
    def main_kind(self) -> str:
        """The kind of AP that the winner is chosen by."""
        asked = self.selection.get("metric")
        return asked if asked in self.kinds else next(iter(self.kinds), "bbox")

    @property
    def tolerance(self) -> float | None:
        """How much AP, as a fraction, a winner may lose on val; None when neither winner nor recipe says."""
        asked = self.winner.tolerance if self.winner else self.selection.get("tolerance")
        return float(asked) if isinstance(asked, int | float) and 0 <= asked <= 1 else None

    @property
    def control(self) -> Trial | None:
        """The dense trial that tickets are compared with: the named one, else the one trained as long as they are."""
        named = self.trial(self.winner.control) if self.winner and self.winner.control else None
        dense = [trial for kind in ("dense_control", "dense") for trial in reversed(self.trials) if trial.kind == kind]
        return named or next(iter(dense), None)

    def trial(self, name: str) -> Trial | None:
        """The trial called `name`."""
        return next((trial for trial in self.trials if trial.name == name), None)

    def of_kind(self, kind: str) -> list[Trial]:
        """The trials of one kind, sparsest last."""
        return sorted((trial for trial in self.trials if trial.kind == kind), key=lambda trial: trial.zeros)


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


def load_run(path: Path) -> tuple[RunSummary, dict[str, Any]]:
    """A run summary, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, RunSummary, RUN_SCHEMA)


def load_benchmark(path: Path) -> tuple[BenchmarkResults, dict[str, Any]]:
    """Benchmark results, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, BenchmarkResults, BENCHMARK_SCHEMA)
