"""What a report reads: the summary of a run and the results of a benchmark, checked on the way in.

Both come from files, so every value may be missing or odd. Missing figures become None, figures that are not
finite become None as well, and whatever has the wrong type is refused with its place in the file. Characters
that no one can see (control codes, lone surrogates) become spaces, so that texts fit in HTML, SVG and UTF-8.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.reporting.labels import one_line

RUN_SCHEMA = "lth-run/1"
BENCHMARK_SCHEMA = "lth-benchmark/1"

M = TypeVar("M", bound=BaseModel)

_DEEPEST = 32


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


Figure = Annotated[float | None, AfterValidator(_finite)]
# Beyond 2**53 a count could not be told from its neighbours, and divisions would overflow.
Count = Annotated[int, Field(ge=0, le=2**53)]
# Kind of AP (bbox, segm, keypoints) to metric (AP, AP50, ...) to a fraction; None without such objects.
Metrics = dict[str, dict[str, Figure]]


class Section(BaseModel):
    """A part of a file: keys that the report does not know are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Layer(Section):
    """One weight tensor of a trial; `positions` is how often each weight is multiplied for one image."""

    name: str
    group: str = "other"
    shape: list[int] = []
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
    """One training: the dense control, a ticket, or a control of a ticket."""

    name: str
    kind: str = "ticket"
    sparsity: Figure = None
    sparsity_prunable: Figure = None
    sparsity_all: Figure = None
    zero_macs: Figure = None
    steps: Count | None = None
    seconds: Figure = None
    val: Metrics | None = None
    test: Metrics | None = None
    layers: list[Layer] = []
    parts: list[Part] = []
    losses: list[tuple[Count, Figure]] = []

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
    """A picture in the run directory; the path is relative to it."""

    title: str = ""
    path: str


class Dataset(Section):
    """Sizes of the splits, in images, and the names of the classes."""

    classes: list[str] = []
    train: Count | None = None
    val: Count | None = None
    test: Count | None = None


class Parameters(Section):
    """Numbers of weights."""

    total: Count | None = None
    prunable: Count | None = None


class RunSummary(Section):
    """`summary.json` of a run directory."""

    recipe: dict[str, Any] = {}
    recipe_digest: str | None = None
    finished: bool = False
    dataset: Dataset = Dataset()
    parameters: Parameters = Parameters()
    trials: list[Trial] = []
    winner: Winner | None = None
    notes: list[str] = []
    pictures: list[PictureFile] = []
    versions: dict[str, Any] = {}
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
        """The dense trial that tickets are compared with: the named one, else the last dense one."""
        named = self.trial(self.winner.control) if self.winner and self.winner.control else None
        return named or next((trial for trial in reversed(self.trials) if trial.kind == "dense"), None)

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
    load_ms: list[Figure] = []
    first_ms: Figure = None
    latency_ms: Latency | None = None
    ratio_to_baseline: Ratio | None = None
    peak_rss_bytes: Figure = None
    ap: Metrics | None = None
    ap_difference: dict[str, Difference] | None = None
    notes: list[str] = []

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
    machine: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    command: str | list[str] | None = None
    rows: list[Row] = []


def load_run(path: Path) -> tuple[RunSummary, dict[str, Any]]:
    """A run summary, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, RunSummary, RUN_SCHEMA)


def load_benchmark(path: Path) -> tuple[BenchmarkResults, dict[str, Any]]:
    """Benchmark results, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, BenchmarkResults, BENCHMARK_SCHEMA)


def load_document(path: Path, model: type[M], schema: str) -> tuple[M, dict[str, Any]]:
    """Read and check one file.

    Raises:
        DataError: not JSON, another schema, or a value of the wrong type, with its place.
    """
    document = _clean(storage.read_json(path), path)
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != schema:
        raise DataError(f"{path}: schema '{schema}' is needed, found {found!r}; give a file of that kind")
    try:
        return model.model_validate(document), document
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]]
        raise DataError(f"{path}: {'; '.join(faults)}; write the file again or correct it") from error


def _clean(value: Any, path: Path, depth: int = 0) -> Any:
    """A copy of JSON data without unprintable characters, and None for figures that are not finite."""
    if depth > _DEEPEST:
        raise DataError(f"{path}: nested more than {_DEEPEST} levels deep; this is no report data")
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, list):
        return [_clean(item, path, depth + 1) for item in value]
    if isinstance(value, dict):
        return {one_line(key): _clean(item, path, depth + 1) for key, item in value.items()}
    return value
