"""The verb `benchmark`: size, speed, memory and AP of files beside their dense baseline and the best dense engine."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from lth_deploy import storage
from lth_deploy.errors import UsageError
from lth_deploy.measure.board_results import Host
from lth_deploy.measure.latency import Timing
from lth_deploy.measure.machine import describe_machine
from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.workflow.benchmark.candidates import Candidate
from lth_deploy.workflow.benchmark.choose_candidates import choose_candidates
from lth_deploy.workflow.benchmark.describe_file import FileDescription, describe_file, weight_positions
from lth_deploy.workflow.benchmark.imported_rows import imported_rows, read_import
from lth_deploy.workflow.benchmark.measure_round import (
    MAX_AP_LOSS,
    Accuracy,
    RoundSettings,
    measure_round,
    open_all,
)
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.rows import make_row
from lth_deploy.workflow.boards.measure_hosts import measure_hosts, reachable_hosts
from lth_deploy.workflow.boards.options import BoardOptions
from lth_deploy.workflow.boards.placed import board_candidates, place

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset


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
        settings = RoundSettings(
            dataset,
            Timing.within(options.seconds),
            options.timed_images,
            options.loads,
            options.bootstrap,
            workspace / "feeds.npz",
        )
        hosts: list[Host] = []
        drivers, unreachable = ([], []) if options.boards is None else reachable_hosts(options.boards)
        if options.boards is None:
            candidates, left_out = choose_candidates(artifacts, baseline, dataset, options, workspace)
            rows = _measure(candidates, settings, options)
        else:
            placed, refused = place(board_candidates(artifacts, baseline, dataset, options, workspace), workspace)
            candidates = [one.candidate for one in placed]
            described = _described(candidates, dataset)
            rows, hosts, left_out = measure_hosts(drivers, placed, described, settings, options, options.boards)
            candidates = [one.candidate for one in placed if not one.is_peer]  # rows have the versions of others
            left_out = [*unreachable, *refused, *left_out]
        classes = _classes(candidates)
    imported = [row for source in imports for row in imported_rows(*source, dataset, rows, classes)]
    return BenchmarkResults(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        versions=_versions(candidates),
        settings=_settings(options, data, dataset, candidates[0].name, left_out),
        command=list(options.command) if options.command else None,
        rows=[*rows, *imported],
        hosts=hosts,
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


def _described(candidates: list[Candidate], dataset: "CocoDataset") -> dict[Path, FileDescription]:
    positions = weight_positions(candidates, dataset)
    first = {candidate.file.path: candidate for candidate in reversed(candidates)}
    return {path: describe_file(candidate, positions) for path, candidate in first.items()}


def _measure(candidates: list[Candidate], settings: RoundSettings, options: BenchmarkOptions) -> list[Row]:
    described = _described(candidates, settings.dataset)
    rows: list[Row] = []
    scored: list[Accuracy] | None = None
    for threads in options.threads:
        opened = open_all(candidates, threads)
        measured = measure_round(opened, settings, threads, scored)
        scored = [row.accuracy for row in measured]
        rows += [
            make_row(described[one.candidate.file.path], one, row) for one, row in zip(opened, measured, strict=True)
        ]
    return rows


def _versions(candidates: list[Candidate]) -> dict[str, str]:
    from lth_deploy.run.directory import versions
    from lth_deploy.runtimes import RUNTIMES

    engines = dict.fromkeys(candidate.engine for candidate in candidates)
    return {**versions(), **{engine: RUNTIMES.get(engine).version() for engine in engines}}


def _settings(
    options: BenchmarkOptions, data: Path, dataset: "CocoDataset", baseline: str, left_out: list[str]
) -> dict[str, Any]:
    chosen = asdict(replace(options, imports=(), command=None, boards=None))
    chosen.pop("boards")
    if options.boards is not None:
        chosen["hosts"] = TypeAdapter(BoardOptions).dump_python(options.boards, mode="json")
    chosen = {name: value for name, value in chosen.items() if name != "shapes" or value is not None}
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()},
        "imports": [str(path) for path in options.imports],
        "timing": asdict(Timing.within(options.seconds)),
        "timed": "one run of the session on one image; preparing the image and decoding outputs are not timed",
        "order": "blocks of all rows in turn, on the same image in one round; workers stop spinning between runs",
        "ratio": "median over rounds of this row's median time over the baseline's, same threads",
        "best_dense": f"the fastest dense engine that loses less than {100 * MAX_AP_LOSS:g} AP, with as many threads",
        "memory": "VmHWM of a fresh process after two inferences; median over processes",
        "data": str(data),
        "data_digest": dataset.digest(),
        "ap_images": len(dataset.images),
        "baseline": baseline,
        "left_out": left_out,
    }


def _classes(candidates: list[Candidate]) -> dict[str, dict[int, str]]:
    """Category ids and names by digest of the files that say them."""
    return {
        storage.sha256(candidate.file.path): {entry.id: entry.name for entry in candidate.file.metadata.classes}
        for candidate in candidates
        if candidate.file.metadata is not None and candidate.file.metadata.classes
    }
