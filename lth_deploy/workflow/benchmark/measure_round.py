"""One round of a benchmark at one number of threads: outputs checked, timed side by side, probed, scored."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError, InputMismatchError, ParityError
from lth_deploy.evaluation.bootstrap import difference_interval, match_detections
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.measure.latency import Timing, paired_ratio, summarize, time_interleaved
from lth_deploy.measure.parity import ParityLimits, compare_detections
from lth_deploy.measure.results import ApInterval, Latency, RatioInterval
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.artifact import Artifact, open_session
from lth_deploy.workflow.benchmark.candidates import KERNELS, Contender
from lth_deploy.workflow.benchmark.fresh_process import probe
from lth_deploy.workflow.evaluate import detect_all, score

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.decoders import Feeds, Photo
    from lth_deploy.detections import Detections

log = logging.getLogger(__name__)

ROUNDED_ONCE = (
    "the kernels round a sum of bytes once, plain ONNX twice, so INT8 detections differ a little; each has its own AP"
)
Opened = list[tuple[Contender, Artifact]]
Measured = dict[str, Any]
Resampled = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Race:
    """What all rows have in common; feeds_file is scratch space for the inputs that fresh processes read."""

    dataset: "CocoDataset"
    timing: Timing
    timed_images: int
    loads: int
    bootstrap: int
    feeds_file: Path


def open_all(contenders: list[Contender], threads: int) -> Opened:
    """A session for every contender.

    Raises:
        ArtifactError: an engine refuses a file.
    """
    return [
        (contender, open_session(contender.loaded, engine=contender.engine, threads=threads))
        for contender in contenders
    ]


def race(opened: Opened, plan: Race, threads: int, scored: dict[int, Measured]) -> list[Measured]:
    """Fields of a row for every contender, in order; the first contender is the baseline.

    scored: APs that another number of threads measured already, by contender; filled here.

    Raises:
        ParityError: a packed artifact's outputs are not those of its weights in plain ONNX.
    """
    from lth_deploy.data.images import read_record

    photos = [read_record(record) for record in plan.dataset.subset(plan.timed_images).images]
    notes = [_check_outputs(contender, artifact, photos) for contender, artifact in opened]
    measured = _time(opened, photos, plan)
    for row, (contender, artifact), checked in zip(measured, opened, notes, strict=True):
        row.update(threads=threads, notes=checked)
        row.update(_probe(contender, artifact.file.decoder.prepare(photos[0])[0], plan, threads))
    _score(opened, plan, scored)
    for row, (contender, _) in zip(measured, opened, strict=True):
        row.update({key: value for key, value in scored[id(contender)].items() if key != "notes"})
        row["notes"] = row["notes"] + scored[id(contender)]["notes"]
    return measured


def _check_outputs(contender: Contender, artifact: Artifact, photos: "list[Photo]") -> list[str]:
    """Compare with the same weights in plain ONNX on ONNX Runtime; every contender must at least decode.

    The kernels round fused additions of bytes once, a stock runtime twice: there other detections are only told.
    """
    plain = contender.reference or (contender.loaded.path if contender.engine != "onnxruntime" else None)
    found = [_predicted(contender, artifact, photo) for photo in photos]
    if plain is None:
        return []
    reference = open_session(replace(contender.loaded, path=plain, packed=False), engine="onnxruntime", threads=1)
    limits = ParityLimits(minimum_boxes=0)
    pairs = ((number, reference.predict(photo), found[number]) for number, photo in enumerate(photos))
    report = compare_detections(pairs, limits)
    if report.passed:
        return []
    text = f"{contender.name} on {contender.engine} differs from its own weights in plain ONNX: {report.describe()}"
    if contender.file.quantized and contender.engine == KERNELS:
        log.info("%s", text)
        return [ROUNDED_ONCE]
    if RUNTIMES.get(contender.engine).takes_packed:
        raise ParityError(f"{text}; nothing was timed: export the file again")
    log.warning("%s", text)
    return [text]


def _predicted(contender: Contender, artifact: Artifact, photo: "Photo") -> "Detections":
    """Detections of one photo.

    Raises:
        ParityError: the kernel library fails on a file that is no other than its weights in plain ONNX.
    """
    try:
        return artifact.predict(photo)
    except ArtifactError as error:
        if contender.engine != KERNELS or isinstance(error.__cause__, InputMismatchError):
            raise
        raise ParityError(f"{contender.name} cannot run with the kernel library: {error}; nothing was timed") from error


def _time(opened: Opened, photos: "list[Photo]", plan: Race) -> list[Measured]:
    def runner(artifact: Artifact) -> Any:
        prepared: list[Feeds] = [artifact.file.decoder.prepare(photo)[0] for photo in photos]
        return lambda number: artifact.session.run(prepared[number % len(prepared)])

    callables = {str(place): runner(artifact) for place, (_, artifact) in enumerate(opened)}
    log.info("timing %d rows for %g s each", len(opened), plan.timing.seconds)
    blocks = list(time_interleaved(callables, plan.timing).values())
    rows: list[Measured] = []
    for place, mine in enumerate(blocks):
        ratio = None if place == 0 else RatioInterval.of(paired_ratio(blocks[0], mine))
        latency = Latency.of(summarize(mine), [len(block) for block in mine])
        rows.append({"latency_ms": latency, "ratio_to_baseline": ratio})
    return rows


def _probe(contender: Contender, feeds: "Feeds", plan: Race, threads: int) -> Measured:
    np.savez(plan.feeds_file, **feeds)  # type: ignore[arg-type]
    loaded = contender.loaded.path
    lives = [probe(loaded, plan.feeds_file, contender.engine, threads) for _ in range(plan.loads)]
    return {
        "load_ms": [life.load_ms for life in lives],
        "first_ms": median(life.first_ms for life in lives),
        "peak_rss_bytes": int(median(life.peak_rss_bytes for life in lives)),
        "base_rss_bytes": int(median(life.base_rss_bytes for life in lives)),
    }


def _score(opened: Opened, plan: Race, scored: dict[int, Measured]) -> None:
    baseline: dict[str, Resampled] = {}
    for place, (contender, artifact) in enumerate(opened):
        if id(contender) in scored:
            continue
        log.info("scoring %s on %s", contender.name, contender.engine)
        found, notes = detect_all(artifact, plan.dataset)
        ap = score(plan.dataset, found)
        measured = [kind for kind, metrics in ap.metrics.items() if metrics["AP"] is not None]
        resampled = {kind: _resample(plan, found, kind) for kind in measured}
        if place == 0:
            baseline = resampled
        differences = {
            kind: _interval(mine, baseline[kind]) for kind, mine in resampled.items() if place > 0 and kind in baseline
        }
        scored[id(contender)] = {
            "ap": ap.metrics,
            "ap_difference": differences or None,
            "notes": [*ap.notes, *notes],
        }


def _resample(plan: Race, found: dict[int, CompactDetections], kind: str) -> Resampled:
    truth, category_ids = plan.dataset.ground_truth(), plan.dataset.category_ids
    return match_detections(truth, found, category_ids, kind).resampled(plan.bootstrap, seed=0)


def _interval(mine: Resampled, baseline: Resampled) -> ApInterval:
    value = difference_interval(mine, baseline)
    return ApInterval(low=value.low, high=value.high, mean=value.mean)
