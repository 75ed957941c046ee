"""The verb `benchmark`: size, speed, memory and AP of files, beside their dense baseline, honestly."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy import storage
from lth_deploy.errors import ArtifactError, UsageError
from lth_deploy.measure.latency import Timing
from lth_deploy.measure.machine import describe_machine
from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.measure.size import file_bytes
from lth_deploy.workflow.benchmark.candidates import (
    KERNELS,
    Contender,
    calibration_images,
    default_engines,
    gather,
    quantized,
)
from lth_deploy.workflow.benchmark.imported_rows import imported_rows, read_import
from lth_deploy.workflow.benchmark.measure_round import Race, open_all, race
from lth_deploy.workflow.gates.class_names import hold_control_classes
from lth_deploy.workflow.inspect.weight_bytes import weight_facts

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchmarkOptions:
    """How to measure.

    engines: None for stock ONNX Runtime and, for files with regions, the kernels where they were built. seconds: timed
    for each row. threads: one table's rows for each number. images: how many images AP is scored on (None: all).
    timed_images: how many of them are timed, in turn. loads: fresh processes for each row.
    calibration: images for INT8, taken from calibration_folder. imports: JSON files of other benchmarks and of
    consumers whose rows are appended. verify: refuse files that are not those that the gates of their exports passed.
    """

    engines: tuple[str, ...] | None = None
    threads: tuple[int, ...] = (1,)
    seconds: float = 5.0
    int8: bool = False
    calibration: int = 32
    calibration_folder: Path | None = None
    images: int | None = None
    timed_images: int = 4
    loads: int = 3
    bootstrap: int = 1000
    decoder: str | None = None
    imports: tuple[Path, ...] = ()
    command: tuple[str, ...] | None = None
    verify: bool = False


def benchmark(
    artifacts: Sequence[Path],
    data: Path,
    images: Path,
    *,
    baseline: Path | None = None,
    options: BenchmarkOptions | None = None,
) -> BenchmarkResults:
    """Measure every artifact and the dense baseline on the COCO data set `data` with its `images`.

    The baseline is `baseline`, or dense.onnx beside the first artifact, or that artifact's dense twin.
    Outputs are checked before anything is timed.

    Raises:
        UsageError: an argument that cannot work.
        DataError: faulty data or imports, or models made for other classes.
        ArtifactError: a damaged file; an engine that refuses the baseline or a packed artifact.
        ParityError: a packed artifact does not compute what its own weights compute in plain ONNX, or names other
            classes than its dense control.
    """
    from lth_deploy.data.coco.load import load_coco

    options = options or BenchmarkOptions()
    _check(options)
    imports = [(path, read_import(path)) for path in options.imports]
    dataset = load_coco(data, images)
    dataset = dataset if options.images is None else dataset.subset(options.images)
    if not dataset.images:
        raise UsageError(f"benchmark: {data} has no images to measure on; give a data set with images")
    with storage.scratch("benchmark") as workspace:
        engines = default_engines() if options.engines is None else options.engines
        contenders = gather(artifacts, baseline, engines, options.decoder, workspace, verify=options.verify)
        for contender in contenders[1:]:
            hold_control_classes(contender.file, contenders[0].file)
        if options.int8:
            chosen, origin = calibration_images(options.calibration_folder, dataset, options.calibration)
            dense = quantized(contenders[0], chosen, origin, workspace)
            peers = [engine for engine in engines if engine not in (dense.engine, KERNELS)]
            contenders += [dense, *(replace(dense, engine=engine) for engine in peers)]
        contenders, left_out = _loadable(contenders)
        rows = _measure(contenders, dataset, options, workspace)
        classes = _classes(contenders)
    imported = [row for source in imports for row in imported_rows(*source, dataset, rows, classes)]
    return BenchmarkResults(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        versions=_versions(contenders),
        settings=_settings(options, data, dataset, contenders[0].name, left_out),
        command=list(options.command) if options.command else None,
        rows=[*rows, *imported],
    )


def _check(options: BenchmarkOptions) -> None:
    counts = {
        "--time": options.seconds,
        "images": 1 if options.images is None else options.images,
        "timed images": options.timed_images,
        "loads": options.loads,
        "calibration images": options.calibration,
    }
    wrong = [name for name, value in counts.items() if value <= 0]
    if wrong or not options.threads or any(count < 1 for count in options.threads):
        raise UsageError(
            f"benchmark: {wrong[0] if wrong else '--threads'} must be positive, got {options}; correct the value"
        )


def _loadable(contenders: list[Contender]) -> tuple[list[Contender], list[str]]:
    """All but those that a peer of ONNX Runtime refuses; their rows are left out, and that is said.

    Raises:
        ArtifactError: the engine of the baseline refuses it.
    """
    from lth_deploy.workflow.artifact import open_session

    kept, left_out = [], []
    for contender in contenders:
        if contender.engine == "onnxruntime":
            kept.append(contender)
            continue
        try:
            open_session(contender.loaded, engine=contender.engine, threads=1)
        except ArtifactError as error:
            if contender is contenders[0]:
                raise
            log.warning("left out: %s on %s: %s", contender.name, contender.engine, error)
            left_out.append(f"{contender.name} on {contender.engine}: {error}")
            continue
        kept.append(contender)
    return kept, left_out


def _measure(
    contenders: list[Contender], dataset: "CocoDataset", options: BenchmarkOptions, workspace: Path
) -> list[Row]:
    timing = Timing(seconds=options.seconds)
    plan = Race(dataset, timing, options.timed_images, options.loads, options.bootstrap, workspace / "feeds.npz")
    positions = _positions(contenders, dataset)
    files: dict[Path, Row] = {}
    for contender in contenders:
        if contender.file.path not in files:
            files[contender.file.path] = _describe(contender, positions)
    rows: list[Row] = []
    scored: dict[int, dict[str, Any]] = {}
    for threads in options.threads:
        opened = open_all(contenders, threads)
        for (contender, artifact), measured in zip(opened, race(opened, plan, threads, scored), strict=True):
            known = files[contender.file.path]
            own = {
                "engine": contender.engine,
                "engine_version": artifact.session.describe()["version"],
                "notes": [*contender.notes, *known.notes, *measured["notes"]],
            }
            rows.append(known.model_copy(update={**measured, **own}))
    return rows


def _describe(contender: Contender, positions: dict[str, int]) -> Row:
    """What does not depend on engine and threads: identity and bytes. Compressing takes seconds."""
    path = contender.file.path
    raw, compressed = file_bytes(path)
    metadata = contender.file.metadata
    facts = weight_facts(path, dict(metadata.positions) if metadata and metadata.positions else positions)
    notes = []
    if facts.zero_macs is None and contender.kind != "int8":
        notes.append("its layers are not those of the baseline and it has no metadata: zero MACs are unknown")
    return Row(
        name=contender.name,
        path=str(contender.file.origin or path),
        sha256=storage.sha256(path),
        kind=contender.kind,
        engine=contender.engine,
        engine_version="",
        threads=1,
        bytes=raw,
        bytes_zstd=compressed,
        bytes_coo=facts.bytes_coo,
        entropy_bytes=facts.entropy_bytes,
        parts=facts.parts,
        zero_weights=facts.zero_weights,
        zero_macs=facts.zero_macs,
        notes=notes,
    )


def _positions(contenders: list[Contender], dataset: "CocoDataset") -> dict[str, int]:
    """How often each weight is multiplied: from a file's metadata, else counted in the baseline."""
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.planning.mac_count import positions
    from lth_deploy.data.images import read_record

    for contender in contenders:
        if contender.file.metadata is not None and contender.file.metadata.positions:
            return dict(contender.file.metadata.positions)
    base = contenders[0].file
    feeds, _ = base.decoder.prepare(read_record(dataset.images[0]))
    return positions(load_model(base.path), feeds)


def _versions(contenders: list[Contender]) -> dict[str, str]:
    from lth_deploy.run.directory import versions
    from lth_deploy.runtimes import RUNTIMES

    engines = dict.fromkeys(contender.engine for contender in contenders)
    return {**versions(), **{engine: RUNTIMES.get(engine).version() for engine in engines}}


def _settings(
    options: BenchmarkOptions, data: Path, dataset: "CocoDataset", baseline: str, left_out: list[str]
) -> dict[str, Any]:
    chosen = asdict(replace(options, imports=(), command=None))
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()},
        "imports": [str(path) for path in options.imports],
        "timing": asdict(Timing(seconds=options.seconds)),
        "timed": "one run of the session on one image; preparing the image and decoding outputs are not timed",
        "order": "blocks of all rows in turn, on the same image in one round; workers stop spinning between runs",
        "ratio": "median over rounds of this row's median time over the baseline's, same threads",
        "memory": "VmHWM of a fresh process after two inferences; median over processes",
        "data": str(data),
        "data_digest": dataset.digest(),
        "ap_images": len(dataset.images),
        "baseline": baseline,
        "left_out": left_out,
    }


def _classes(contenders: list[Contender]) -> dict[str, dict[int, str]]:
    """Category ids and names by digest of the files that say them."""
    return {
        storage.sha256(contender.file.path): {entry.id: entry.name for entry in contender.file.metadata.classes}
        for contender in contenders
        if contender.file.metadata is not None and contender.file.metadata.classes
    }
