"""One round of a benchmark, at one number of threads: check outputs, time side by side, measure loads, score AP."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError
from lth_deploy.evaluation.bootstrap import difference_interval, match_detections
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.measure.latency import Timing, paired_ratio, summarize, time_interleaved
from lth_deploy.measure.memory import FreshProcess
from lth_deploy.measure.results import ApInterval, Latency, RatioInterval
from lth_deploy.progress import Step, progress
from lth_deploy.workflow.artifact import Artifact
from lth_deploy.workflow.benchmark.candidates import Candidate
from lth_deploy.workflow.benchmark.check_outputs import check_outputs
from lth_deploy.workflow.benchmark.fresh_process import LoadSettings, measure_load
from lth_deploy.workflow.evaluate import detect_all, score

if TYPE_CHECKING:
    from lth_deploy.arrays import Feeds
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.decoders import Photo

log = logging.getLogger(__name__)

Metrics = dict[str, dict[str, float | None]]
MAX_AP_LOSS = 0.005
"""A dense engine that loses this much AP, as a fraction, is not one to compare with."""

Resampled = npt.NDArray[np.float64]
Blocks = list[list[list[float]]]


@dataclass(frozen=True)
class RoundSettings:
    """What all rows have in common.

    timed_images: how many images are timed, in turn. loads: fresh processes for each candidate.
    bootstrap: samples over images. feeds_file: scratch file with the inputs that fresh processes read.
    """

    dataset: "CocoDataset"
    timing: Timing
    timed_images: int
    loads: int
    bootstrap: int
    feeds_file: Path


@dataclass(frozen=True)
class Opened:
    """A candidate with its session."""

    candidate: Candidate
    artifact: Artifact


@dataclass(frozen=True)
class Accuracy:
    """AP by kind and metric, and the difference to the baseline's; it does not depend on the number of threads."""

    ap: Metrics
    difference: dict[str, ApInterval] | None
    notes: list[str]


@dataclass(frozen=True)
class MeasuredRow:
    """What one round measures of one candidate.

    latency: None where no time has a meaning. ratio: time over the baseline's; None for the baseline.
    times_best_dense: how many times as fast as the best
    dense engine; None where there is none. best_dense: whether it is that engine.
    """

    threads: int
    latency: Latency | None
    ratio: RatioInterval | None
    times_best_dense: RatioInterval | None
    best_dense: bool
    loads: list[FreshProcess]
    accuracy: Accuracy
    notes: list[str]

    @property
    def first_ms(self) -> float | None:
        """The first inference, median over the fresh processes; None without any."""
        return median(process.first_ms for process in self.loads) if self.loads else None

    @property
    def peak_rss_bytes(self) -> int | None:
        """Peak memory after two inferences, median over the fresh processes; None without any."""
        return int(median(process.peak_rss_bytes for process in self.loads)) if self.loads else None

    @property
    def base_rss_bytes(self) -> int | None:
        """Peak memory before the model is loaded, median over the fresh processes; None without any."""
        return int(median(process.base_rss_bytes for process in self.loads)) if self.loads else None


class Bench(Protocol):
    """A machine on which candidates are measured."""

    def check(self, one: Opened, images: "Sequence[Photo]") -> list[str]:
        """Compare outputs with those that are right; notes for the row.

        Raises:
            ParityError: a packed artifact's outputs are not those of its weights in plain ONNX.
        """

    def time(self, opened: Sequence[Opened], images: "Sequence[Photo]", settings: RoundSettings) -> Blocks | None:
        """Milliseconds of every timed inference, by candidate and block; None where no time has a meaning."""

    def load(self, one: Opened, image: "Photo", settings: RoundSettings, threads: int) -> FreshProcess | None:
        """Load and run in a fresh process; None where no time has a meaning."""


class ThisProcess:
    """Sessions of this process, and fresh processes beside it."""

    def check(self, one: Opened, images: "Sequence[Photo]") -> list[str]:
        """See `Bench`."""
        return check_outputs(one.candidate, one.artifact, images)

    def time(self, opened: Sequence[Opened], images: "Sequence[Photo]", settings: RoundSettings) -> Blocks | None:
        """See `Bench`."""

        def runner(artifact: Artifact) -> Callable[[int], object]:
            prepared: list[Feeds] = [artifact.file.decoder.prepare(image)[0] for image in images]
            return lambda number: artifact.session.run(prepared[number % len(prepared)])

        callables = {str(place): runner(one.artifact) for place, one in enumerate(opened)}
        log.info("timing %d rows for %g s each", len(opened), settings.timing.seconds)
        return list(time_interleaved(callables, settings.timing).values())

    def load(self, one: Opened, image: "Photo", settings: RoundSettings, threads: int) -> FreshProcess | None:
        """See `Bench`."""
        feeds = one.artifact.file.decoder.prepare(image)[0]
        np.savez(settings.feeds_file, **feeds)  # type: ignore[arg-type]
        candidate = one.candidate
        return measure_load(
            LoadSettings(
                str(candidate.loaded.path),
                str(settings.feeds_file),
                candidate.engine,
                threads,
                candidate.precision,
                candidate.shapes,
            )
        )


def open_all(candidates: Sequence[Candidate], threads: int) -> list[Opened]:
    """A session for every candidate.

    Raises:
        ArtifactError: an engine refuses a file.
    """
    return [Opened(candidate, candidate.load(threads)) for candidate in candidates]


def measure_round(
    opened: Sequence[Opened],
    settings: RoundSettings,
    threads: int,
    scored: Sequence[Accuracy] | None = None,
    bench: Bench | None = None,
) -> list[MeasuredRow]:
    """A row for every candidate, in order; the first candidate is the baseline.

    scored: the accuracy of each candidate where another round has measured it. bench: None for this process.

    Raises:
        ParityError: a packed artifact's outputs are not those of its weights in plain ONNX.
    """
    from lth_deploy.data.images import read_record

    used = bench or ThisProcess()
    images = [read_record(record) for record in settings.dataset.subset(settings.timed_images).images]
    checked = [used.check(one, images) for one in opened]
    blocks = used.time(opened, images, settings)
    with progress("loading in fresh processes", total=len(opened) * settings.loads) as step:
        loads = [_measure_loads(used, one, images[0], settings, threads, step) for one in opened]
    accuracies = _score(opened, settings) if scored is None else scored
    if blocks is None:
        return [
            MeasuredRow(threads, None, None, None, False, processes, accuracy, [*notes, *accuracy.notes])
            for processes, accuracy, notes in zip(loads, accuracies, checked, strict=True)
        ]
    best = best_dense_engine([one.candidate for one in opened], accuracies, blocks)
    return [
        MeasuredRow(
            threads=threads,
            latency=Latency.of(summarize(timed), [len(block) for block in timed]),
            ratio=None if timed is blocks[0] else RatioInterval.of(paired_ratio(blocks[0], timed)),
            times_best_dense=None if best is None else RatioInterval.of(paired_ratio(timed, blocks[best])),
            best_dense=best is not None and timed is blocks[best],
            loads=processes,
            accuracy=accuracy,
            notes=[*notes, *accuracy.notes],
        )
        for timed, processes, accuracy, notes in zip(blocks, loads, accuracies, checked, strict=True)
    ]


def best_dense_engine(
    candidates: Sequence[Candidate], accuracies: Sequence[Accuracy], blocks: Sequence[Sequence[Sequence[float]]]
) -> int | None:
    """The position of the fastest dense engine whose AP is not `MAX_AP_LOSS` below the baseline's; None without any."""
    baseline = accuracies[0].ap
    accurate = [
        number
        for number, (candidate, accuracy) in enumerate(zip(candidates, accuracies, strict=True))
        if candidate.is_dense_engine and (number == 0 or _loss(baseline, accuracy.ap) < MAX_AP_LOSS)
    ]
    return min(accurate, key=lambda number: summarize(blocks[number]).p50, default=None)


def _loss(baseline: Metrics, found: Metrics) -> float:
    """The largest loss of AP over all kinds; infinite where the baseline has an AP and `found` has none."""
    aps = [(metrics["AP"], found.get(kind, {}).get("AP")) for kind, metrics in baseline.items()]
    return max((inf if ap is None else base - ap for base, ap in aps if base is not None), default=0.0)


def _measure_loads(
    bench: Bench, opened: Opened, image: "Photo", settings: RoundSettings, threads: int, step: Step
) -> list[FreshProcess]:
    found = []
    for _ in range(settings.loads):
        measured = bench.load(opened, image, settings, threads)
        found += [] if measured is None else [measured]
        step()
    return found


def _score(opened: Sequence[Opened], settings: RoundSettings) -> list[Accuracy]:
    baseline: dict[str, Resampled] | None = None
    accuracies = []
    for one in opened:
        log.info("scoring %s", one.candidate)
        try:
            found, notes = detect_all(one.artifact, settings.dataset)
        except ArtifactError as error:
            if not one.candidate.optional:
                raise
            accuracies.append(Accuracy({}, None, [f"no AP, because it fails on an image: {error}"]))
            continue
        result = score(settings.dataset, found)
        measured = [kind for kind, metrics in result.metrics.items() if metrics["AP"] is not None]
        resampled = {kind: _resample(settings, found, kind) for kind in measured}
        difference = None
        if baseline is None:
            baseline = resampled
        else:
            shared = [kind for kind in resampled if kind in baseline]
            difference = {kind: _interval(resampled[kind], baseline[kind]) for kind in shared}
        accuracies.append(Accuracy(result.metrics, difference or None, [*result.notes, *notes]))
    return accuracies


def _resample(settings: RoundSettings, found: dict[int, CompactDetections], kind: str) -> Resampled:
    truth, category_ids = settings.dataset.ground_truth(), settings.dataset.category_ids
    return match_detections(truth, found, category_ids, kind).resampled(settings.bootstrap, seed=0)


def _interval(sampled: Resampled, baseline: Resampled) -> ApInterval:
    value = difference_interval(sampled, baseline)
    return ApInterval(low=value.low, high=value.high, mean=value.mean)
